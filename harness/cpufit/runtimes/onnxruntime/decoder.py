"""A language model on ONNX Runtime, its keys and values kept in place.

The cache is allocated once, for the longest sequence; the model reads the past and writes the
present in the same memory. A step binds no more than its tokens and a longer attention mask.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit.errors import UnsupportedError
from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.onnxruntime.opening import dtype_of, open_session, resolved, runner
from cpufit.runtimes.onnxruntime.sense import OnnxSense
from cpufit.runtimes.pasts import PAST, present_of
from cpufit.runtimes.tokens import drawn, has_sense

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_DRAWN_STEPS = 1024  # of random ids, drawn once for decoding and then used round and round
_ROWS = "image_rows"


class OnnxDecoderSession(Stepping):
    """A loaded language model with a cache for `options.batch` sequences."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        self._session = open_session(artifact, options, {})
        self._sense = OnnxSense(artifact, options) if has_sense(artifact) else None
        self._seen = self._sense.rows if self._sense else 0  # rows before the first token
        options = replace(options, context_tokens=options.context_tokens + self._seen)
        _check_context(self._session, options)
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._sequences, self._room = options.batch, options.context_tokens
        self._filled = 0  # tokens in the cache of the first sequence
        self._shared = True  # the others have the same
        self._cache = _allocate(self._session, options)
        self._ones = np.ones(options.batch * options.context_tokens, np.int64)
        logits = next(port for port in self._session.get_outputs() if port.name == "logits")
        self._every = logits.shape[1] != 1  # whether a prompt gives the logits of all its tokens
        rows = max(options.batch, options.prompt_tokens if self._every else 1)
        self._all = np.zeros((rows, logits.shape[-1]), dtype_of(logits))
        self._logits = self._all[: options.batch, None]
        self._current = self._logits[:0]  # of the last step
        self._names = {port.name for port in self._session.get_inputs()}
        self._prompt = _bind(self._session, self._cache, self._logits, 1)
        self._next = _bind(self._session, self._cache, self._logits, options.batch)
        self.settings: Mapping[str, str] = {
            **resolved(self._session, options, {}),
            "kv_cache": f"{self._cache_type()}, past and present in the same memory",
            "kv_cache_tokens": str(options.context_tokens),
            "kv_cache_bytes": str(sum(buffer.nbytes for buffer in self._cache.values())),
        }
        self.notes: tuple[str, ...] = ()

    def inputs(self) -> dict[str, Array]:
        """Return those of the sense; a language model's ids come with each step."""
        return self._sense.inputs if self._sense else {}

    def outputs(self) -> dict[str, Array]:
        """Return the last step's logits: sequences x vocabulary."""
        return {"logits": self._current[:, -1].copy()}

    def close(self) -> None:
        """Free the model and its cache; the session cannot be used afterwards."""
        del self._prompt, self._next, self._session, self._cache

    def prefill(self, step: Step) -> Work:
        """Get ready for a prompt; with several sequences it fills the first."""
        ids = np.array([step.ids or self._draw(step.tokens)], np.int64)
        items, count = ids.shape[1], self._seen + ids.shape[1]
        self._filled = 0
        binding = self._prompt
        binding.bind_cpu_input("input_ids", ids)
        if "position_ids" in self._names:
            binding.bind_cpu_input("position_ids", np.arange(count)[None])
        self._bind_mask(binding, 1, count)
        logits = self._all[None, : items if self._every else 1]
        _bind_logits(binding, logits)
        once = runner(self._session, binding)

        def run() -> None:
            if self._sense:
                self._sense.run()
                binding.bind_ortvalue_input(_ROWS, self._sense.outputs()[_ROWS])
            once()
            self._filled, self._shared = count, self._sequences == 1
            self._current = logits

        return Work(run=run, items=items)

    def decode(self, step: Step) -> Work:
        """Get ready for tokens, after the prompt has run: it is copied to all sequences.

        Ids are one per sequence for each token, and are used round and round.
        """
        self._share_prompt()
        count, binding = self._sequences, self._next
        given = step.ids or self._draw(_DRAWN_STEPS * count)
        steps = cycle(np.array(given, np.int64).reshape(-1, count, 1))
        ids = np.zeros((count, 1), np.int64)
        positions = np.zeros((count, 1), np.int64)
        binding.bind_cpu_input("input_ids", ids)
        if "position_ids" in self._names:
            binding.bind_cpu_input("position_ids", positions)
        if self._sense:
            width = self._sense.outputs()[_ROWS].shape()[-1]
            binding.bind_cpu_input(_ROWS, np.zeros((count, 0, width), np.float32))
        once = runner(self._session, binding)
        self._current = self._logits

        def run() -> None:
            ids[:] = next(steps)
            positions[:] = self._filled
            self._filled += 1
            self._bind_mask(binding, count, self._filled)
            once()

        return Work(run=run, items=count)

    def _bind_mask(self, binding: Any, sequences: int, tokens: int) -> None:
        """Bind the first of the ones: none is copied."""
        if tokens > self._room:
            raise RuntimeError(f"{tokens} tokens do not fit the cache of {self._room}")
        where, shape = self._ones.ctypes.data, (sequences, tokens)
        binding.bind_input("attention_mask", "cpu", 0, np.int64, shape, where)

    def _share_prompt(self) -> None:
        """Give every sequence the first one's cache."""
        if not self._shared:
            for buffer in self._cache.values():
                buffer[1:, :, : self._filled] = buffer[:1, :, : self._filled]
        self._shared = True

    def _cache_type(self) -> str:
        return ", ".join(sorted({str(buffer.dtype) for buffer in self._cache.values()}))

    def _draw(self, count: int) -> list[int]:
        return drawn(self._random, self._logits.shape[-1], count)


class OnnxSeeingSession(OnnxDecoderSession):
    """The same, told about a picture first; 'prefill' has taking it in inside."""

    _sense: OnnxSense

    def encode(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Take the picture in, alone."""
        return Work(run=self._sense.run, items=1)


def _check_context(session: Any, options: LoadOptions) -> None:
    facts = session.get_modelmeta().custom_metadata_map
    limit = int(facts.get("context_length", options.context_tokens))  # users' own need not say it
    if options.context_tokens > limit:
        raise UnsupportedError(
            f"{options.context_tokens} tokens do not fit the model's context of {limit}",
            "ask for fewer tokens",
        )


def _allocate(session: Any, options: LoadOptions) -> dict[str, Array]:
    """Return the cache by input name: sequences x heads x tokens x width, touched."""
    found: dict[str, Array] = {}
    for given in session.get_inputs():
        if given.name.startswith(PAST):
            _, heads, _, width = given.shape
            shape = (options.batch, heads, options.context_tokens, width)
            found[given.name] = np.full(shape, 0, dtype_of(given))
    return found


def _bind(session: Any, cache: dict[str, Array], logits: Array, sequences: int) -> Any:
    """Bind all that stays where it is, for the first of the sequences."""
    binding = session.io_binding()
    outputs = {port.name for port in session.get_outputs()}
    for name, buffer in cache.items():
        part = buffer[:sequences]
        place = ("cpu", 0, part.dtype, part.shape, part.ctypes.data)
        binding.bind_input(name, *place)
        binding.bind_output(present_of(name, outputs), *place)
    _bind_logits(binding, logits[:sequences])
    return binding


def _bind_logits(binding: Any, logits: Array) -> None:
    place = ("cpu", 0, logits.dtype, logits.shape, logits.ctypes.data)
    binding.bind_output("logits", *place)
