"""How OpenVINO reads, compiles and runs a model, what it reports, and its errors in words."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpufit.errors import DataError, UnavailableError
from cpufit.runtimes.inputs import advice, last_resort, shape_of

# Without that package OpenVINO sends no usage statistics and starts no thread for them.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cpufit.runtimes.base import LoadOptions
    from cpufit.schema import Artifact

_REASON_CHARS = 200
_HINTS = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
_UNRECORDED = {"SUPPORTED_PROPERTIES", "NETWORK_NAME", "LOG_LEVEL"}  # lists and labels, no settings
_OUTSIDE = "which is outside the base directory"
_NOISE = re.compile(r"\s*(Exception from |Check '.*' failed at |FrontEnd API failed|Summary:)")


def new_core() -> Any:
    """Return what reads and compiles models."""
    return ov.Core()


def openvino_version() -> str:
    """Return the version with its build number."""
    return str(ov.get_version())


def read_model(core: Any, artifact: Artifact, options: LoadOptions) -> Any:
    """Read the file, its open axes fixed; raise DataError in words where OpenVINO refuses it."""
    with explained(artifact):
        model = core.read_model(artifact.path)
        if artifact.inputs:
            model.reshape({spec.name: shape_of(spec, options.batch) for spec in artifact.inputs})
        return model


def compile_model(core: Any, model: Any, artifact: Artifact, options: LoadOptions) -> Any:
    """Compile for the CPU with the hint for the goal; raise DataError like `read_model`."""
    config: dict[str, str | int] = {
        "PERFORMANCE_HINT": _HINTS[options.goal],
        "INFERENCE_NUM_THREADS": options.threads,
    }
    if options.context_tokens:
        config["PERFORMANCE_HINT_NUM_REQUESTS"] = 1  # else one request gets a share of the threads
    if options.precision == "fp32":  # by default it computes in bfloat16 where the CPU has it
        config["INFERENCE_PRECISION_HINT"] = "f32"
    if options.precision == "bf16":
        config["INFERENCE_PRECISION_HINT"] = _bfloat16(core)
    with explained(artifact):
        return core.compile_model(model, "CPU", config)


def _bfloat16(core: Any) -> str:
    """Return the hint's value; raise UnavailableError where the CPU would compute in float32."""
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnavailableError(
            "this CPU has no bfloat16 arithmetic (AVX512-BF16 or AMX)", "measure it at fp32"
        )
    return "bf16"


def infer(request: Any, remedy: str = "") -> None:
    """Run a request once; raise DataError in words where it fails, with this remedy."""
    try:
        # Without sharing, the outputs would be copied inside the timed region.
        request.infer(share_outputs=True)
    except RuntimeError as error:
        raise DataError(f"openvino cannot run the model: {reason_of(error)}", remedy) from error


def requests_of(compiled: Any, count: int) -> Any:
    """Return so many requests of a compiled model, that can run side by side."""
    return ov.AsyncInferQueue(compiled, count)


def copied(array: NDArray[Any]) -> Any:
    """Return a tensor with an array's values, in memory of OpenVINO's own."""
    return ov.Tensor(array)


def in_place(array: NDArray[Any]) -> Any:
    """Return a tensor in the very memory of a contiguous array, which it keeps alive."""
    return ov.Tensor(array, shared_memory=True)


@contextmanager
def explained(artifact: Artifact) -> Iterator[None]:
    """Raise DataError in words where OpenVINO refuses the artifact's file."""
    try:
        yield
    except RuntimeError as error:
        name = Path(artifact.path).name
        raise DataError(
            f"openvino cannot load {name}: {reason_of(error)}",
            _remedy(error, advice(artifact)) or last_resort(artifact),
        ) from error


def reason_of(error: Exception) -> str:
    """Shorten OpenVINO's message to what a user can act on: one line, no source positions."""
    if _OUTSIDE in str(error):
        return "its weights are a link out of its folder, which openvino does not follow"
    lines = [line for line in str(error).splitlines() if not _NOISE.match(line)]
    text = " ".join(" ".join(lines).split())
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 3] + "..."


def _remedy(error: Exception, for_sizes: str) -> str:
    text = str(error)
    if _OUTSIDE in text:
        return "copy the folder with `cp -rL`, and measure the copy"
    if "externally stored" in text:
        return "put the file with the external weights, whole, beside the model"
    if "No conversion rule" in text:
        return "run it on onnxruntime, or export it without these operators"
    if "bin file" in text:
        return "put the whole .bin file of the same name beside the .xml"
    if "shape" in text.lower():
        return for_sizes or "the sizes of its open axes do not fit: export it with fixed ones"
    if "can't be parsed" in text or "Unable to read" in text:
        return "the file is damaged or not a model: copy or export it again"
    return ""


def resolved(core: Any, compiled: Any, requests: int) -> dict[str, str]:
    """Return every property as the compiled model reports it, and what the CPU can do."""
    names = sorted(set(compiled.get_property("SUPPORTED_PROPERTIES")) - _UNRECORDED)
    settings = {name: _plain(compiled.get_property(name)) for name in names}
    return {
        **settings,
        "DEVICE_ARCHITECTURE": _plain(core.get_property("CPU", "DEVICE_ARCHITECTURE")),
        "OPTIMIZATION_CAPABILITIES": _plain(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "infer_requests": str(requests),
        "outputs": "shared",
    }


def _plain(value: object) -> str:
    """Write a property as OpenVINO spells it: 'float32' for a Type, 'CPU' for ['CPU']."""
    if isinstance(value, (list, tuple, set)):
        return ",".join(str(item) for item in value)
    if isinstance(value, ov.Type):
        return str(value.to_string())
    return str(getattr(value, "name", value))
