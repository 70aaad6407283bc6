"""ONNX Runtime on the CPU, set up for one request at a time or for a batch per pass."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from cpufit.errors import UnsupportedError
from cpufit.runtimes.base import Work
from cpufit.runtimes.onnx_axes import axis_names
from cpufit.runtimes.onnx_decoder import OnnxDecoderSession
from cpufit.runtimes.onnx_setup import open_session, resolved, runner
from cpufit.runtimes.onnx_streams import OnnxStreamsSession
from cpufit.runtimes.onnx_writer import OnnxWriterSession
from cpufit.runtimes.tensors import check_batch, make_input, shape_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Session, Step
    from cpufit.runtimes.tensors import Array
    from cpufit.schema import Artifact


class OnnxRuntimeSession:
    """A loaded ONNX model with inputs in place: every pass reads and writes the same memory."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        check_batch(artifact.inputs, options.batch)
        self._batch = options.batch
        sizes = _axis_sizes(artifact, options.batch)
        # Some exporters give one name to axes that differ; such a name cannot be fixed.
        fixed = {name: values.pop() for name, values in sizes.items() if len(values) == 1}
        self._session = open_session(artifact, options, fixed)
        self._binding = self._session.io_binding()
        self._inputs: dict[str, Array] = {}
        for spec in artifact.inputs:
            array = make_input(spec, options.batch, options.seed)
            # The value lies in the array's own memory, which must live as long as the session.
            self._binding.bind_ortvalue_input(spec.name, ort.OrtValue.ortvalue_from_numpy(array))
            self._inputs[spec.name] = array
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")
        self.settings: Mapping[str, str] = resolved(self._session, options, fixed)
        self.notes: tuple[str, ...] = tuple(
            f"axes called {name!r} have several sizes: the graph is not optimised for them"
            for name in sorted(sizes.keys() - fixed.keys())
        )

    def prepare(self, step: Step) -> Work:
        """Return one pass over the batch; raise UnsupportedError for any other kind of step."""
        if step.kind != "infer":
            raise UnsupportedError(
                f"this model has no {step.kind} step", "only language models generate"
            )
        return Work(run=runner(self._session, self._binding), items=self._batch)

    def inputs(self) -> dict[str, Array]:
        """Return the inputs by name; what is written there is what the next pass reads."""
        return self._inputs

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

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Load an ONNX file, as a language model where the options say how long a text may get.

        Raises DataError in words where it is not one ONNX Runtime can run, UnsupportedError where
        it has not what the options ask for.
        """
        if options.context_tokens:
            return _language_session(artifact, options)
        if options.streams:
            return OnnxStreamsSession(artifact, options)
        return OnnxRuntimeSession(artifact, options)


RUNTIME = OnnxRuntime()


def _language_session(artifact: Artifact, options: LoadOptions) -> Session:
    """A writer looks at what it is told about in every layer; a decoder reads it like tokens."""
    if any(name.startswith("cross.") for name in axis_names(Path(artifact.path))):
        return OnnxWriterSession(artifact, options)
    return OnnxDecoderSession(artifact, options)


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
