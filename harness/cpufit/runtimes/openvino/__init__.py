"""OpenVINO: its own IR of every kind of model, and ONNX files as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.runtimes.engine import Build, Engine, Usual

if TYPE_CHECKING:
    from cpufit.schema import Family, Model

_GRAPHS: tuple[Family, ...] = ("encoder", "vision", "multimodal")


def _refuses(model: Model) -> str:
    given = model.family == "llm" and model.file.lower().endswith(".onnx")
    return "keeps no cache for language models that are ONNX files" if given else ""


ENGINE = Engine(
    name="openvino",
    title="OpenVINO",
    packages=("openvino", "nncf"),
    extra="openvino",
    builds=(
        Build(
            families=("llm",),
            precisions=("int4", "int8", "bf16", "fp16", "fp32"),
            builder="openvino.decoder",
        ),
        Build(families=_GRAPHS, precisions=("fp32", "int8"), builder="openvino.graphs"),
        Build(families=_GRAPHS, precisions=("bf16",), builder="openvino.graphs", stored="fp32"),
        Build(
            families=("vision",),
            precisions=("fp32", "int8"),
            weights="real",
            builder="openvino.graphs",
        ),
        Build(
            families=("vision",),
            precisions=("bf16",),
            weights="real",
            builder="openvino.graphs",
            stored="fp32",
        ),
        Build(families=("ocr",), weights="real", builder="asis"),
    ),
    suffixes=(".onnx", ".xml"),
    refuses=_refuses,
    usual=(
        # Qwen2.5 0.5B on one core of a Zen 5: first token after 216 ms, against 479 on ONNX Runtime
        # INT8 and 696 on llama.cpp Q8_0.
        Usual(
            families=("llm",),
            precision="int8",
            flags=("avx512_vnni", "avx_vnni", "amx_int8"),
            why="first token soonest on CPUs with VNNI or AMX",
        ),
    ),
)
