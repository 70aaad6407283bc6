"""How an ONNX Runtime session is set up, loaded and recorded, and its errors in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from cpufit.errors import DataError
from cpufit.runtimes.inputs import advice, last_resort

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.runtimes.base import LoadOptions
    from cpufit.schema import Artifact

# Stops reports of sessions. The reporting thread itself is stopped only by ORT_DISABLE_TELEMETRY in
# the environment, which belongs to whoever starts this process.
ort.disable_telemetry_events()

_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3  # of ONNX Runtime's log severities
_REASON_CHARS = 200
_TYPES = {  # of what language models take and give
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_ENTRIES = {  # ONNX Runtime's defaults, set so that they can be read back and recorded
    "session.intra_op.allow_spinning": "1",
    "session.inter_op.allow_spinning": "1",
    "session.set_denormal_as_zero": "0",
    "session.disable_prepacking": "0",
    "session.use_device_allocator_for_initializers": "0",
}
# Each of its status codes is an exception class of its own, without a common base.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    *(
        kind
        for kind in vars(native).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)


def open_session(artifact: Artifact, options: LoadOptions, fixed: Mapping[str, int]) -> Any:
    """Load an ONNX file with the open axes named in `fixed` set to a size.

    Raises DataError in words where it is not one ONNX Runtime can run.
    """
    try:
        return ort.InferenceSession(artifact.path, _setup(options, fixed), providers=[_PROVIDER])
    except _ORT_ERRORS as error:
        name = Path(artifact.path).name
        raise DataError(
            f"onnxruntime cannot load {name}: {_reason(error)}",
            _remedy(error, advice(artifact)) or last_resort(artifact),
        ) from error


def dtype_of(port: Any) -> np.dtype[Any]:
    """Return numpy's type of a session's input or output."""
    return np.dtype(_TYPES[port.type])


def runner(session: Any, binding: Any, remedy: str = "") -> Callable[[], None]:
    """Return a function that runs the model once; it raises DataError in words."""
    run = session.run_with_iobinding

    def once() -> None:
        try:
            run(binding)
        except _ORT_ERRORS as error:
            reason = f"onnxruntime cannot run the model: {_reason(error)}"
            raise DataError(reason, _remedy(error, remedy) or remedy) from error

    return once


def resolved(session: Any, options: LoadOptions, fixed: Mapping[str, int]) -> dict[str, str]:
    """Return every option as the loaded session holds it."""
    setup = session.get_session_options()
    entries = {key: setup.get_session_config_entry(key) for key in _ENTRIES}
    return {
        "providers": ",".join(session.get_providers()),
        "intra_op_num_threads": str(setup.intra_op_num_threads),
        "inter_op_num_threads": str(setup.inter_op_num_threads),
        "execution_mode": setup.execution_mode.name,
        "graph_optimization_level": setup.graph_optimization_level.name,
        "enable_mem_pattern": str(setup.enable_mem_pattern),
        "enable_mem_reuse": str(setup.enable_mem_reuse),
        "enable_cpu_mem_arena": str(setup.enable_cpu_mem_arena),
        "use_deterministic_compute": str(setup.use_deterministic_compute),
        **entries,
        "free_dimensions": ",".join(f"{name}={size}" for name, size in fixed.items()),
        "io_binding": "cpu",
        "goal": options.goal,
        "build": ort.get_build_info(),
    }


def _setup(options: LoadOptions, fixed: Mapping[str, int]) -> Any:
    setup = ort.SessionOptions()
    setup.log_severity_level = _ERRORS_ONLY
    setup.intra_op_num_threads = options.threads
    setup.inter_op_num_threads = 1
    setup.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    setup.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    setup.enable_mem_pattern = True
    for key, value in _ENTRIES.items():
        setup.add_session_config_entry(key, value)
    for name, size in fixed.items():
        setup.add_free_dimension_override_by_name(name, size)
    return setup


def _reason(error: Exception) -> str:
    """Shorten ONNX Runtime's message to what a user can act on: one line, no C++ signatures."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"Load model from .*? failed:", "", text)
    text = re.sub(r"\S+\.(cc|h):\d+ (.*?\) (?=[A-Z])|\S+ )?", "", text)
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 3] + "..."


def _remedy(error: Exception, for_sizes: str) -> str:
    text = str(error)
    if "External" in text or "external" in text:
        return "put the file with the external weights, whole, beside the model"
    if "opset" in text or "IR version" in text:
        return "update onnxruntime, or export the model for an older opset"
    if "not a registered" in text or "No Op registered" in text:
        return "export the model without custom operators"
    if "ShapeInferenceError" in text or "invalid dimensions" in text:
        return for_sizes or "the sizes of its open axes do not fit: export it with fixed ones"
    if isinstance(error, native.InvalidProtobuf) or "No graph" in text:
        return "the file is damaged or not ONNX: copy or export it again"
    return ""
