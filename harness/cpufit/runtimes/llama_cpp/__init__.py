"""llama.cpp (ggml): GGUF files of language models, encoders, and models that are shown pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.runtimes.engine import Build, Engine, Usual
from cpufit.runtimes.llama_cpp import instructions, parts

if TYPE_CHECKING:
    from cpufit.schema import Model


def _refuses(model: Model) -> str:
    layers = model.decoder or model.encoder
    return "has no factorised layers" if layers and layers.lowrank else ""


ENGINE = Engine(
    name="llama.cpp",
    title="llama.cpp (ggml)",
    packages=("llama-cpp-python", "gguf"),
    extra="llama-cpp",
    builds=(
        Build(
            families=("llm",),
            precisions=("int4", "q4_0", "int8", "bf16", "fp16"),
            builder="gguf",
        ),
        Build(families=("encoder",), precisions=("int4", "int8", "fp16"), builder="gguf"),
        Build(families=("llm",), weights="real", builder="asis"),
    ),
    suffixes=(".gguf",),
    refuses=_refuses,
    check=parts.check,
    fault=instructions.fault,
    usual=(
        Usual(families=("llm",), precision="int4", why="what most people run language models with"),
    ),
    compiled=True,
    keeps_threads=False,  # where it is built without OpenMP
)
