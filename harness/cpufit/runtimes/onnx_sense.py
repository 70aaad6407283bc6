"""The graph that takes in a picture or sound, beside the one that writes about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from cpufit.errors import UnsupportedError
from cpufit.runtimes.onnx_setup import open_session, runner
from cpufit.runtimes.tensors import make_input

if TYPE_CHECKING:
    from cpufit.runtimes.base import LoadOptions
    from cpufit.runtimes.tensors import Array
    from cpufit.schema import Artifact

_FILE = "sense.onnx"
FIXED = {"batch": 1}  # there is one picture


class OnnxSense:
    """A loaded sense with its input in place; `run` does one pass."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        if options.batch != 1:
            raise UnsupportedError(
                "models that write about a picture or sound take one at a time",
                "measure it with batch 1",
            )
        beside = replace(artifact, path=str(Path(artifact.path).with_name(_FILE)))
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


def has_sense(artifact: Artifact) -> bool:
    """Return whether there is a sense beside the artifact's file."""
    return Path(artifact.path).with_name(_FILE).is_file()
