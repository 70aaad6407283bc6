"""The graph that takes in a picture or sound, beside the one that writes about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cpufit.runtimes.inputs import make_input
from cpufit.runtimes.openvino.opening import compile_model, in_place, infer, read_model
from cpufit.runtimes.tokens import check_alone, sense_file

if TYPE_CHECKING:
    from cpufit.runtimes.base import LoadOptions
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact


class OpenVinoSense:
    """A compiled sense with its input in place; `run` does one pass."""

    def __init__(self, core: Any, artifact: Artifact, options: LoadOptions) -> None:
        check_alone(options)
        beside = replace(artifact, path=str(sense_file(artifact)))
        compiled = compile_model(core, read_model(core, beside, options), beside, options)
        self._request = compiled.create_infer_request()
        self.inputs: dict[str, Array] = {}
        for spec in artifact.inputs:
            self.inputs[spec.name] = make_input(spec, 1, options.seed)
            self._request.set_tensor(spec.name, in_place(self.inputs[spec.name]))
        self.rows = int(compiled.output(0).get_partial_shape()[1].get_length())

    def run(self) -> None:
        """Take in what lies in the inputs; raise DataError in words."""
        infer(self._request)

    def output(self, name: str) -> Any:
        """Return an output of the last pass, in its place."""
        return self._request.get_tensor(name)
