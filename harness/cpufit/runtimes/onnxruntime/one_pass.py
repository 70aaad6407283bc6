"""One pass over fixed inputs on ONNX Runtime, for one request at a time or for a batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime as ort

from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.inputs import advice, check_batch, last_resort, make_input, shape_of
from cpufit.runtimes.onnxruntime.axes import axis_names
from cpufit.runtimes.onnxruntime.opening import open_session, resolved, runner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact


class OnnxPassSession(Stepping):
    """A loaded ONNX model with inputs in place: every pass reads and writes the same memory."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        check_batch(artifact.inputs, options.batch)
        self._batch, self._remedy = options.batch, advice(artifact) or last_resort(artifact)
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

    def infer(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Return one pass over the batch."""
        return Work(run=runner(self._session, self._binding, self._remedy), items=self._batch)

    def inputs(self) -> dict[str, Array]:
        """Return the inputs by name; what is written there is what the next pass reads."""
        return self._inputs

    def outputs(self) -> dict[str, Array]:
        """Return copies of the last pass's outputs by name, of those that are tensors."""
        names = (output.name for output in self._session.get_outputs())
        values = zip(names, self._binding.get_outputs(), strict=True)
        return {name: value.numpy() for name, value in values if value.is_tensor()}

    def close(self) -> None:
        """Free the model; the session cannot be used afterwards."""
        del self._binding, self._session


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
