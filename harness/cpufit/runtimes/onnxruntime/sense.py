"""The graph that takes in a picture or sound, beside the one that writes about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from cpufit.runtimes.inputs import make_input
from cpufit.runtimes.onnxruntime.opening import open_session, runner
from cpufit.runtimes.tokens import check_alone, sense_file

if TYPE_CHECKING:
    from cpufit.runtimes.base import LoadOptions
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

FIXED = {"batch": 1}  # there is one picture


class OnnxSense:
    """A loaded sense with its input in place; `run` does one pass."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        check_alone(options)
        beside = replace(artifact, path=str(sense_file(artifact)))
        self._session = open_session(beside, options, FIXED)
        self._binding = self._session.io_binding()
        self.inputs: dict[str, Array] = {}
        for spec in artifact.inputs:
            array = make_input(spec, 1, options.seed)
            self._binding.bind_ortvalue_input(spec.name, ort.OrtValue.ortvalue_from_numpy(array))
            self.inputs[spec.name] = array
        self._names = [output.name for output in self._session.get_outputs()]
        for name in self._names:
            self._binding.bind_output(name, "cpu")
        self.run = runner(self._session, self._binding)

    @property
    def rows(self) -> int:
        """How many rows the first output has."""
        return int(self._session.get_outputs()[0].shape[1])

    def outputs(self) -> dict[str, Any]:
        """Return the last pass's outputs, each in its place, as ONNX Runtime's values."""
        return dict(zip(self._names, self._binding.get_outputs(), strict=True))
