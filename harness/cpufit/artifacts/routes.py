"""Which builder makes a model for a runtime. A new kind of artifact is a line here and a module."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from cpufit.errors import UnsupportedError
from cpufit.schema import PRECISIONS

if TYPE_CHECKING:
    from cpufit.artifacts.base import Builder
    from cpufit.schema import Family, Model, Precision, Weights


@dataclass(frozen=True)
class Route:
    """`module` builds models of `families` for `runtime` at `precisions`."""

    runtime: str
    families: tuple[Family, ...]
    weights: Weights
    precisions: tuple[Precision, ...]  # empty: whatever the real file holds
    module: str
    stored: Precision | None = None  # what the file holds, where it is loaded as something else


_GRAPHS: tuple[Family, ...] = ("encoder", "vision", "multimodal")
_ALL: tuple[Family, ...] = ("llm", "encoder", "vision", "ocr", "multimodal")

ROUTES = (
    Route("llama.cpp", ("llm",), "synthetic", ("int4", "q4_0", "int8", "bf16", "fp16"), "gguf"),
    Route("llama.cpp", ("encoder",), "synthetic", ("int4", "int8", "fp16"), "gguf"),
    Route("llama.cpp", ("llm",), "real", (), "asis"),
    Route("onnxruntime", ("llm",), "synthetic", ("int4", "int8", "fp32"), "onnx.decoder"),
    Route("onnxruntime", _GRAPHS, "synthetic", ("fp32", "int8"), "onnx.graphs"),
    Route("onnxruntime", ("vision",), "real", ("fp32", "int8"), "onnx.graphs"),
    Route("onnxruntime", ("ocr",), "real", (), "asis"),
    Route(
        "openvino",
        ("llm",),
        "synthetic",
        ("int4", "int8", "bf16", "fp16", "fp32"),
        "openvino.decoder",
    ),
    Route("openvino", _GRAPHS, "synthetic", ("fp32", "int8"), "openvino.graphs"),
    Route("openvino", _GRAPHS, "synthetic", ("bf16",), "openvino.graphs", stored="fp32"),
    Route("openvino", ("vision",), "real", ("fp32", "int8"), "openvino.graphs"),
    Route("openvino", ("vision",), "real", ("bf16",), "openvino.graphs", stored="fp32"),
    Route("openvino", ("ocr",), "real", (), "asis"),
    Route("fake", _ALL, "synthetic", PRECISIONS, "timings"),
)
_SUFFIXES = {
    ".gguf": ("llama.cpp",),
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
    ".json": ("fake",),
}


def runtimes_of_file(suffix: str) -> tuple[str, ...]:
    """Return the runtimes that read files ending in `suffix`; empty where none does."""
    return _SUFFIXES.get(suffix.lower(), ())


def known_suffixes() -> tuple[str, ...]:
    """Return the file endings a user may bring."""
    return tuple(_SUFFIXES)


def route_of(model: Model, precision: Precision, runtime: str, weights: Weights) -> Route:
    """Return how the model is made; raise UnsupportedError saying what would work instead."""
    if model.file:
        return Route(runtime, _ALL, weights, (), "asis")
    built = model.decoder or model.encoder
    if runtime == "llama.cpp" and built and built.lowrank:
        raise UnsupportedError(
            "llama.cpp has no factorised layers", "this variant runs on onnxruntime, openvino"
        )
    family: Family = "llm" if model.decoder else model.family
    routes = [r for r in ROUTES if r.runtime == runtime and family in r.families]
    if not routes:
        others = sorted({r.runtime for r in ROUTES if family in r.families})
        raise UnsupportedError(
            f"no {model.family} models on {runtime} yet", f"this model runs on {', '.join(others)}"
        )
    if weights not in model.weights:
        raise UnsupportedError(
            f"{model.name} has no {weights} weights", f"it has {', '.join(model.weights)}"
        )
    routes = [r for r in routes if r.weights == weights]
    for route in routes:
        if precision in (route.precisions or _real_precision(model)):
            return route
    allowed = sorted({p for r in routes for p in r.precisions or _real_precision(model)})
    raise UnsupportedError(
        f"no {precision} of {model.name} with {weights} weights on {runtime}",
        f"available: {', '.join(allowed) or 'none'}",
    )


def builder(module: str) -> Builder:
    """Import the builder module of that name."""
    return cast("Builder", import_module(f"cpufit.artifacts.{module}"))


def _real_precision(model: Model) -> tuple[Precision, ...]:
    return (model.real.precision,) if model.real else ()
