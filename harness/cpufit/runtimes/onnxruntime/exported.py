"""A language model on ONNX Runtime as exporters write it: past in, and out the longer present.

So does optimum run such files: what came out of a step is bound as the input of the next, and ONNX
Runtime allocates what comes out. That binding is part of a step's time, here as there.
"""

from __future__ import annotations

from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from cpufit.errors import UnsupportedError
from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.onnxruntime.opening import dtype_of, open_session, resolved, runner
from cpufit.runtimes.pasts import KEPT, PAST, SWITCH, grown_axis, present_of
from cpufit.runtimes.tokens import drawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_DRAWN_STEPS = 1024  # of random ids, drawn once for decoding and then used round and round


class OnnxExportedSession(Stepping):
    """A loaded language model; a prompt fills one sequence, which is copied for several."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        self._session = open_session(artifact, options, {})
        self._inputs = {port.name: port for port in self._session.get_inputs()}
        self._names = [port.name for port in self._session.get_outputs()]
        self._presents = {
            name: present_of(name, self._names) for name in self._inputs if name.startswith(PAST)
        }
        _check_batch(self._inputs, options.batch)
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._sequences = options.batch
        self._vocab: int = _vocabulary(self._session)
        self._past: dict[str, Any] = {}  # values by input, of the tokens so far
        self._written: dict[str, Any] = {}  # outputs of the last step
        self._filled = 0
        self.settings: Mapping[str, str] = {
            **resolved(self._session, options, {}),
            "kv_cache": f"{self._cache_type()}, a longer one from each step",
        }
        self.notes: tuple[str, ...] = ()

    def inputs(self) -> dict[str, Array]:
        """Return nothing: a language model's ids come with each step."""
        return {}

    def outputs(self) -> dict[str, Array]:
        """Return the last step's logits: sequences x vocabulary."""
        logits = self._written["logits"].numpy()
        return {"logits": logits.reshape(len(logits), -1, self._vocab)[:, -1].copy()}

    def close(self) -> None:
        """Free the model and its cache; the session cannot be used afterwards."""
        del self._past, self._written, self._session

    def prefill(self, step: Step) -> Work:
        """Get ready for a prompt, in an empty cache."""
        ids = np.array([step.ids or self._draw(step.tokens)], np.int64)

        def run() -> None:
            self._filled, self._past = 0, empty
            self._write(ids)

        empty = {name: self._empty(self._inputs[name]) for name in self._presents}
        return Work(run=run, items=ids.shape[1])

    def decode(self, step: Step) -> Work:
        """Get ready for tokens; ids are one per sequence for each, used round and round."""
        self._share_prompt()
        count = self._sequences
        given = np.array(step.ids or self._draw(_DRAWN_STEPS * count), np.int64)
        ids = cycle(given.reshape(-1, count, 1))
        return Work(run=lambda: self._write(next(ids)), items=count)

    def _write(self, ids: Array) -> None:
        """Append tokens to each sequence and compute the logits after them."""
        binding = self._session.io_binding()
        for name, value in self._past.items():
            binding.bind_ortvalue_input(name, value)
        for name, array in self._texts(ids).items():
            binding.bind_cpu_input(name, array)
        for name in self._names:
            binding.bind_output(name, "cpu")
        runner(self._session, binding)()
        self._written = dict(zip(self._names, binding.get_outputs(), strict=True))
        self._past = {past: self._written[name] for past, name in self._presents.items()}
        self._filled += ids.shape[1]

    def _texts(self, ids: Array) -> dict[str, Array]:
        """Return all inputs but the past, of those that the file asks for."""
        count, tokens = ids.shape
        places = np.arange(self._filled, self._filled + tokens)
        found: dict[str, Array] = {
            "input_ids": ids,
            "attention_mask": np.ones((count, self._filled + tokens), np.int64),
            "position_ids": np.broadcast_to(places, (count, tokens)),
            SWITCH: np.array([self._filled > 0]),
            **{name: np.array(1) for name in KEPT},
        }
        return {
            name: _shaped(array, self._inputs[name])
            for name, array in found.items()
            if name in self._inputs
        }

    def _share_prompt(self) -> None:
        """Give every sequence the first one's cache, outside the clock."""
        if not self._past:
            self._past = {name: self._empty(self._inputs[name]) for name in self._presents}
        for name, value in self._past.items():
            array = value.numpy()
            batch = _batch_axis(self._inputs[name].shape)
            if array.shape[batch] != self._sequences:
                shared = np.repeat(array, self._sequences, batch)
                self._past[name] = ort.OrtValue.ortvalue_from_numpy(shared)

    def _empty(self, port: Any) -> Any:
        grown, batch = grown_axis(port.shape), _batch_axis(port.shape)
        shape = [axis if isinstance(axis, int) else 1 for axis in port.shape]
        shape[grown] = 0
        shape[batch] = 1
        return ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype_of(port)))

    def _cache_type(self) -> str:
        return ", ".join(sorted({str(dtype_of(self._inputs[name])) for name in self._presents}))

    def _draw(self, count: int) -> list[int]:
        return drawn(self._random, self._vocab, count)


def _shaped(array: Array, port: Any) -> Array:
    """Return values as an input takes them; several kinds of positions are those of text."""
    if len(port.shape) > array.ndim:
        lead = [axis if isinstance(axis, int) else 1 for axis in port.shape[: -array.ndim or None]]
        array = np.broadcast_to(array, (*lead, *array.shape))
    return np.ascontiguousarray(array, dtype_of(port))


def _batch_axis(shape: Sequence[int | str | None]) -> int:
    """Return the first open axis, which is that of the sequences; the first of all where none."""
    return next((place for place, axis in enumerate(shape) if not isinstance(axis, int)), 0)


def _check_batch(inputs: Mapping[str, Any], batch: int) -> None:
    ids = inputs["input_ids"].shape
    if batch != 1 and isinstance(ids[0], int) and ids[0] != batch:
        raise UnsupportedError(
            f"the model takes {ids[0]} text at a time, {batch} do not fit",
            "measure it with --scenario latency, or export it with an open batch axis",
        )


def _vocabulary(session: Any) -> int:
    """Return how many logits there are; where the file does not say, ids of 256 that all have."""
    axes = next(port.shape for port in session.get_outputs() if port.name == "logits")
    return axes[-1] if isinstance(axes[-1], int) else 256
