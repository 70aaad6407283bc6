"""OpenVINO on the CPU, with the performance hints its own benchmark tool uses."""

from __future__ import annotations

import re
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit.errors import DataError, UnavailableError, UnsupportedError
from cpufit.runtimes.base import Work
from cpufit.runtimes.tensors import check_batch, make_input, shape_of

# Without that package OpenVINO sends no usage statistics and starts no thread for them.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from cpufit.runtimes.base import LoadOptions, Session, Step
    from cpufit.runtimes.tensors import Array
    from cpufit.schema import Artifact

_REASON_CHARS = 200
_HINTS = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
_ROUNDS = 4  # passes of each request in one timed work: with 1, its ragged end costs a fifth
_UNRECORDED = {"SUPPORTED_PROPERTIES", "NETWORK_NAME", "LOG_LEVEL"}  # lists and labels, no settings


class OpenVinoSession:
    """A compiled model with inputs in place: one request for latency, several for throughput."""

    def __init__(self, core: Any, artifact: Artifact, options: LoadOptions) -> None:
        check_batch(artifact.inputs, options.batch)
        self._batch = options.batch
        self._compiled = compile_model(core, read_model(core, artifact, options), artifact, options)
        count = 1
        if options.goal == "throughput":
            count = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._queue = ov.AsyncInferQueue(self._compiled, count)
        self._names = [spec.name for spec in artifact.inputs]
        for spec in artifact.inputs:
            tensor = ov.Tensor(make_input(spec, options.batch, options.seed))
            for request in self._queue:
                request.set_tensor(spec.name, tensor)
        self._throughput = options.goal == "throughput"
        self.settings: Mapping[str, str] = resolved(core, self._compiled, len(self._queue))
        self.notes: tuple[str, ...] = ()

    def prepare(self, step: Step) -> Work:
        """Return one pass, or for throughput several of each request, kept busy side by side.

        Raises UnsupportedError for any step but 'infer'.
        """
        if step.kind != "infer":
            raise UnsupportedError(
                f"openvino has no {step.kind} step for this model", "language models have"
            )
        if self._throughput:
            return self._many()
        return Work(run=partial(infer, self._queue[0]), items=self._batch)

    def inputs(self) -> dict[str, Array]:
        """Return the inputs of the first request by name; what is written there is read next."""
        return {name: self._queue[0].get_tensor(name).data for name in self._names}

    def outputs(self) -> dict[str, Array]:
        """Return copies of the last pass's outputs by name."""
        request = self._queue[0]
        return {
            _name_of(output): request.get_tensor(output).data.copy()
            for output in self._compiled.outputs
        }

    def close(self) -> None:
        """Free the model; the session cannot be used afterwards."""
        del self._queue, self._compiled

    def _many(self) -> Work:
        queue = self._queue
        passes = _ROUNDS * len(queue)

        def rounds() -> None:
            try:
                for _ in range(passes):
                    queue.start_async()
                queue.wait_all()
            except RuntimeError as error:
                raise DataError(f"openvino cannot run the model: {reason_of(error)}") from error

        return Work(run=rounds, items=self._batch * passes)


class OpenVino:
    """The runtime `openvino`."""

    clock = staticmethod(time.perf_counter_ns)

    def versions(self) -> Mapping[str, str]:
        """Return the versions of openvino, with its build number, and numpy."""
        return {"openvino": ov.get_version(), "numpy": np.__version__}

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Load an OpenVINO IR or ONNX file; raise DataError in words where OpenVINO refuses it.

        With room for tokens it is a language model's; see `OpenVinoDecoderSession`.
        """
        if options.context_tokens:
            return _language_session(ov.Core(), artifact, options)
        return OpenVinoSession(ov.Core(), artifact, options)


RUNTIME = OpenVino()


def _language_session(core: Any, artifact: Artifact, options: LoadOptions) -> Session:
    """A writer looks at what it is told about in every layer; a decoder reads it like tokens."""
    from cpufit.runtimes.openvino_decoder import OpenVinoDecoderSession
    from cpufit.runtimes.openvino_writer import OpenVinoWriterSession

    with _explained(artifact):
        inputs = core.read_model(artifact.path).inputs
    if any(name.startswith("cross.") for port in inputs for name in port.get_names()):
        return OpenVinoWriterSession(core, artifact, options)
    return OpenVinoDecoderSession(core, artifact, options)


def read_model(core: Any, artifact: Artifact, options: LoadOptions) -> Any:
    """Read the file, its open axes fixed; raise DataError in words where OpenVINO refuses it."""
    with _explained(artifact):
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
    with _explained(artifact):
        return core.compile_model(model, "CPU", config)


def _name_of(output: Any) -> str:
    """Return the name the file gives an output; it may share others with what it is taken from."""
    name: str = output.get_node().get_friendly_name().partition("/sink_port_")[0]
    return name if name in output.get_names() else str(output.get_any_name())


def _bfloat16(core: Any) -> str:
    """Return the hint's value; raise UnavailableError where the CPU would compute in float32."""
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnavailableError(
            "this CPU has no bfloat16 arithmetic (AVX512-BF16 or AMX)", "measure it at fp32"
        )
    return "bf16"


def infer(request: Any) -> None:
    """Run a request once; raise DataError in words where it fails."""
    try:
        # Without sharing, the outputs would be copied inside the timed region.
        request.infer(share_outputs=True)
    except RuntimeError as error:
        raise DataError(f"openvino cannot run the model: {reason_of(error)}") from error


def in_place(array: NDArray[Any]) -> Any:
    """Return a tensor in the very memory of a contiguous array, which it keeps alive."""
    return ov.Tensor(array, shared_memory=True)


@contextmanager
def _explained(artifact: Artifact) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        name = Path(artifact.path).name
        raise DataError(
            f"openvino cannot load {name}: {reason_of(error)}", _remedy(error)
        ) from error


def reason_of(error: Exception) -> str:
    """Shorten OpenVINO's message to what a user can act on: one line, no source positions."""
    lines = [line for line in str(error).splitlines() if not _NOISE.match(line)]
    text = " ".join(" ".join(lines).split())
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 3] + "..."


_NOISE = re.compile(r"\s*(Exception from |Check '.*' failed at |FrontEnd API failed|Summary:)")


def _remedy(error: Exception) -> str:
    text = str(error)
    if "externally stored" in text:
        return "put the file with the external weights, whole, beside the model"
    if "No conversion rule" in text:
        return "run it on onnxruntime, or export it without these operators"
    if "bin file" in text:
        return "put the whole .bin file of the same name beside the .xml"
    if "shape" in text.lower():
        return "the sizes given to its open axes do not fit: export it with fixed ones"
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
