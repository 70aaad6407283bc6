"""OpenVINO running models that write about what they see or hear: two graphs, one request.

Two requests of the writer take turns, so that the keys and values one of them gave are the other's
input in place: a request writes its outputs to the same memory each time.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.openvino.opening import compile_model, in_place, infer, read_model, resolved
from cpufit.runtimes.openvino.sense import OpenVinoSense
from cpufit.runtimes.tokens import drawn, tokens_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_CROSS, _PAST, _PRESENT = "cross.", "past.", "present."
_DRAWN_STEPS = 64


class OpenVinoWriterSession(Stepping):
    """A sense and a writer, loaded together; 'prefill' does both, 'encode' the sense alone."""

    def __init__(self, core: Any, artifact: Artifact, options: LoadOptions) -> None:
        self._sense = OpenVinoSense(core, artifact, options)
        written = replace(artifact, inputs=())
        compiled = compile_model(core, read_model(core, written, options), artifact, options)
        self._writers = cycle([compiled.create_infer_request() for _ in range(2)])
        self._current: Any = None
        self._shapes = {i.get_any_name(): i.get_partial_shape() for i in compiled.inputs}
        self._vocab = compiled.output("logits").get_partial_shape()[-1].get_length()
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._filled = 0
        self.settings: Mapping[str, str] = resolved(core, compiled, 1)
        self.notes: tuple[str, ...] = ()

    def inputs(self) -> dict[str, Array]:
        """Return the sense's inputs by name; what is written there is what it reads next."""
        return self._sense.inputs

    def outputs(self) -> dict[str, Array]:
        """Return the last step's logits: 1 x vocabulary."""
        return {"logits": self._current.get_tensor("logits").data.copy()}

    def close(self) -> None:
        """Free both graphs; the session cannot be used afterwards."""
        del self._sense, self._writers, self._current

    def encode(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Take the picture or sound in, alone."""
        return Work(run=self._sense.run, items=1)

    def decode(self, step: Step) -> Work:
        """Write one more token."""
        ids = cycle(step.ids or self._draw(_DRAWN_STEPS))
        return Work(run=lambda: self._write([next(ids)]), items=1)

    def prefill(self, step: Step) -> Work:
        """Take the picture or sound in, and write the prompt."""
        ids = step.ids or self._draw(step.tokens)

        def run() -> None:
            self._sense.run()
            self._filled, self._current = 0, None
            self._write(ids)

        return Work(run=run, items=len(ids))

    def _write(self, ids: Sequence[int]) -> None:
        """Append tokens and compute the logits after them."""
        request = next(self._writers)
        for name, array in tokens_of(ids, self._filled).items():
            request.set_tensor(name, in_place(array))
        for name, shape in self._shapes.items():
            if name.startswith(_CROSS):
                request.set_tensor(name, self._sense.output(name))
            elif name.startswith(_PAST):
                request.set_tensor(name, self._past(name, shape))
        infer(request)
        self._current = request
        self._filled += len(ids)

    def _past(self, name: str, shape: Any) -> Any:
        if self._current is not None:
            return self._current.get_tensor(name.replace(_PAST, _PRESENT))
        heads, depth = shape[1].get_length(), shape[3].get_length()
        return in_place(np.zeros((1, heads, 0, depth), np.float32))

    def _draw(self, count: int) -> list[int]:
        return drawn(self._random, self._vocab, count)
