"""ONNX Runtime: ONNX files of every kind of model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.runtimes.engine import Build, Engine, Usual

if TYPE_CHECKING:
    from cpufit.schema import Family

_GRAPHS: tuple[Family, ...] = ("encoder", "vision", "multimodal")

ENGINE = Engine(
    name="onnxruntime",
    title="ONNX Runtime",
    packages=("onnxruntime", "onnx"),
    extra="onnxruntime",
    builds=(
        Build(
            families=("llm",),
            precisions=("int4", "int4_all", "int8", "fp32"),
            builder="onnx.decoder",
        ),
        Build(families=_GRAPHS, precisions=("fp32", "int8"), builder="onnx.graphs"),
        Build(
            families=("vision",),
            precisions=("fp32", "int8"),
            weights="real",
            builder="onnx.graphs",
        ),
        Build(families=("ocr",), weights="real", builder="asis"),
    ),
    suffixes=(".onnx",),
    usual=(
        # Qwen 1.8B INT4 on two cores of a Zen 3 (AVX2, no VNNI): 23 tokens/s and 2.1 s to the first
        # one, against 14 to 20 and 2.7 to 3.0 s on llama.cpp.
        Usual(
            families=("llm",),
            precision="int4",
            flags=("avx2",),
            why="fastest for models of 1 to 8B parameters on CPUs with AVX2",
        ),
    ),
)
