"""ONNX Runtime running models that write about what they see or hear: two graphs, one request.

The sense's graph takes in the picture or sound and gives the keys and values that the writer looks
at in every layer. They, and those of the tokens so far, go from pass to pass without being copied.
"""

from __future__ import annotations

from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.onnxruntime.opening import open_session, resolved, runner
from cpufit.runtimes.onnxruntime.sense import FIXED, OnnxSense
from cpufit.runtimes.tokens import drawn, tokens_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_PAST, _PRESENT = "past.", "present."
_DRAWN_STEPS = 64


class OnnxWriterSession(Stepping):
    """A sense and a writer, loaded together; 'prefill' does both, 'encode' the sense alone."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        self._sense = OnnxSense(artifact, options)
        self._writer = open_session(artifact, options, FIXED)
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._names = [output.name for output in self._writer.get_outputs()]
        self._shapes = {i.name: i.shape for i in self._writer.get_inputs()}
        self._written: dict[str, Any] = {}
        self._filled = 0
        self.settings: Mapping[str, str] = resolved(self._writer, options, FIXED)
        self.notes: tuple[str, ...] = ()

    def inputs(self) -> dict[str, Array]:
        """Return the sense's inputs by name; what is written there is what it reads next."""
        return self._sense.inputs

    def outputs(self) -> dict[str, Array]:
        """Return the last step's logits: 1 x vocabulary."""
        return {"logits": self._written["logits"].numpy()}

    def close(self) -> None:
        """Free both graphs; the session cannot be used afterwards."""
        del self._sense, self._writer, self._written

    def encode(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Take the picture or sound in, alone."""
        return Work(run=self._sense.run, items=1)

    def prefill(self, step: Step) -> Work:
        """Take the picture or sound in, and write the prompt."""
        ids = step.ids or self._draw(step.tokens)

        def run() -> None:
            self._sense.run()
            self._filled, self._written = 0, {}
            self._write(ids)

        return Work(run=run, items=len(ids))

    def decode(self, step: Step) -> Work:
        """Write one more token."""
        ids = cycle(step.ids or self._draw(_DRAWN_STEPS))
        return Work(run=lambda: self._write([next(ids)]), items=1)

    def _write(self, ids: Sequence[int]) -> None:
        """Append tokens and compute the logits after them."""
        binding = self._writer.io_binding()
        for name, array in tokens_of(ids, self._filled).items():
            binding.bind_cpu_input(name, array)
        for name, value in self._sense.outputs().items():
            binding.bind_ortvalue_input(name, value)
        for name, shape in self._shapes.items():
            if name.startswith(_PAST):
                binding.bind_ortvalue_input(name, self._past(name, shape))
        for name in self._names:
            binding.bind_output(name, "cpu")
        runner(self._writer, binding)()
        self._written = dict(zip(self._names, binding.get_outputs(), strict=True))
        self._filled += len(ids)

    def _past(self, name: str, shape: Sequence[int | str]) -> Any:
        found = self._written.get(name.replace(_PAST, _PRESENT))
        if found is not None:
            return found
        empty = tuple(0 if isinstance(axis, str) else axis for axis in shape[1:])
        return ort.OrtValue.ortvalue_from_numpy(np.zeros((1, *empty), np.float32))

    def _draw(self, count: int) -> list[int]:
        return drawn(self._random, self._writer.get_outputs()[0].shape[-1], count)
