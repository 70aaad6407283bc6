"""ONNX Runtime on the CPU, set up for one request at a time or for a batch per pass."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from cpufit.errors import DataError, UnsupportedError
from cpufit.runtimes.base import Work
from cpufit.runtimes.onnx_axes import axis_names
from cpufit.runtimes.tensors import check_batch, make_input, shape_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.tensors import Array
    from cpufit.schema import Artifact

# Stops reports of sessions. The reporting thread itself is stopped only by ORT_DISABLE_TELEMETRY in
# the environment, which belongs to whoever starts this process.
ort.disable_telemetry_events()

_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3  # of ONNX Runtime's log severities
_REASON_CHARS = 200
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


class OnnxRuntimeSession:
    """A loaded ONNX model with inputs in place: every pass reads and writes the same memory."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        check_batch(artifact.inputs, options.batch)
        self._batch = options.batch
        sizes = _axis_sizes(artifact, options.batch)
        # Some exporters give one name to axes that differ; such a name cannot be fixed.
        fixed = {name: values.pop() for name, values in sizes.items() if len(values) == 1}
        setup = _setup(options, fixed)
        self._session = _open(artifact, setup)
        self._binding = self._session.io_binding()
        for spec in artifact.inputs:
            array = make_input(spec, options.batch, options.seed)
            self._binding.bind_ortvalue_input(spec.name, ort.OrtValue.ortvalue_from_numpy(array))
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")
        self.settings: Mapping[str, str] = _resolved(self._session, options, fixed)
        self.notes: tuple[str, ...] = tuple(
            f"axes called {name!r} have several sizes: the graph is not optimised for them"
            for name in sorted(sizes.keys() - fixed.keys())
        )

    def prepare(self, step: Step) -> Work:
        """Return one pass over the batch; raise UnsupportedError for any other kind of step."""
        if step.kind != "infer":
            raise UnsupportedError(
                f"onnxruntime has no {step.kind} step", "language models run on llama.cpp"
            )
        run, binding = self._session.run_with_iobinding, self._binding

        def once() -> None:
            try:
                run(binding)
            except _ORT_ERRORS as error:
                reason = f"onnxruntime cannot run the model: {_reason(error)}"
                raise DataError(reason, _remedy(error)) from error

        return Work(run=once, items=self._batch)

    def outputs(self) -> dict[str, Array]:
        """Return copies of the last pass's outputs by name."""
        names = [output.name for output in self._session.get_outputs()]
        arrays = self._binding.copy_outputs_to_cpu()
        return dict(zip(names, arrays, strict=True))

    def close(self) -> None:
        """Free the model; the session cannot be used afterwards."""
        del self._binding, self._session


class OnnxRuntime:
    """The runtime `onnxruntime`."""

    clock = staticmethod(time.perf_counter_ns)

    def versions(self) -> Mapping[str, str]:
        """Return the versions of onnxruntime and numpy."""
        return {"onnxruntime": ort.__version__, "numpy": np.__version__}

    def load(self, artifact: Artifact, options: LoadOptions) -> OnnxRuntimeSession:
        """Load an ONNX file; raise DataError in words where it is not one ONNX Runtime can run."""
        return OnnxRuntimeSession(artifact, options)


RUNTIME = OnnxRuntime()


def _setup(options: LoadOptions, fixed: dict[str, int]) -> Any:
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


def _axis_sizes(artifact: Artifact, batch: int) -> dict[str, set[int]]:
    """Return the sizes that the artifact gives to the file's named open axes."""
    names = axis_names(Path(artifact.path))
    sizes: dict[str, set[int]] = {}
    for spec in artifact.inputs:
        axes = zip(names.get(spec.name, ()), shape_of(spec, batch), strict=False)
        for name, size in axes:
            if name:
                sizes.setdefault(name, set()).add(size)
    return sizes


def _open(artifact: Artifact, setup: Any) -> Any:
    try:
        return ort.InferenceSession(artifact.path, setup, providers=[_PROVIDER])
    except _ORT_ERRORS as error:
        name = Path(artifact.path).name
        raise DataError(
            f"onnxruntime cannot load {name}: {_reason(error)}", _remedy(error)
        ) from error


def _reason(error: Exception) -> str:
    """Shorten ONNX Runtime's message to what a user can act on: one line, no C++ signatures."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"Load model from .*? failed:", "", text)
    text = re.sub(r"\S+\.(cc|h):\d+ (.*?\) (?=[A-Z])|\S+ )?", "", text)
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 3] + "..."


def _remedy(error: Exception) -> str:
    text = str(error)
    if "External" in text or "external" in text:
        return "put the file with the external weights, whole, beside the model"
    if "opset" in text or "IR version" in text:
        return "update onnxruntime, or export the model for an older opset"
    if "not a registered" in text or "No Op registered" in text:
        return "export the model without custom operators"
    if "ShapeInferenceError" in text or "invalid dimensions" in text:
        return "the sizes given to its open axes do not fit: export it with fixed ones"
    if isinstance(error, native.InvalidProtobuf) or "No graph" in text:
        return "the file is damaged or not ONNX: copy or export it again"
    return ""


def _resolved(session: Any, options: LoadOptions, fixed: dict[str, int]) -> dict[str, str]:
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
