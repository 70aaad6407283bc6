"""A language model on llama.cpp: one step is one `llama_decode` per 2048 tokens."""

from __future__ import annotations

import ctypes
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

import llama_cpp as lib
import numpy as np

from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.llama_cpp.library import Loaded, one_each, sliced, why
from cpufit.runtimes.tokens import drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_BATCH, _UBATCH = 2048, 512  # llama-bench's
_DRAWN_IDS = 1024  # drawn once for decoding and then used round and round


class LlamaSession(Stepping, Loaded):
    """A language model."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        changes = {"n_batch": _BATCH, "n_ubatch": _UBATCH, "n_seq_max": options.batch}
        super().__init__(artifact, options, changes)
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._sequences = options.batch
        self._memory = lib.llama_get_memory(self._context)
        self._vocab: int = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._rows = 0  # of logits that the last step computed

    def inputs(self) -> Mapping[str, Array]:
        """Return nothing: a language model's ids come with each step."""
        return {}

    def outputs(self) -> Mapping[str, Array]:
        """Return the last step's logits: sequences x vocabulary, alike after a shared prompt."""
        size = self._rows * self._vocab
        found = np.ctypeslib.as_array(lib.llama_get_logits(self._context), (size,))
        rows = found.reshape(self._rows, self._vocab)
        return {"logits": np.repeat(rows, self._sequences // self._rows, axis=0)}

    def prefill(self, step: Step) -> Work:
        """Get ready for a prompt; with several sequences it fills the first."""
        tokens = step.ids or self._draw(step.tokens)
        lib.llama_memory_clear(self._memory, False)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        wanted = (ctypes.c_int8 * len(tokens))()
        wanted[-1] = 1  # only the last token's logits are computed
        batches = [sliced(ids, wanted, start, _BATCH) for start in range(0, len(tokens), _BATCH)]
        self._rows = 1
        return Work(run=self._runner(batches), items=len(tokens))

    def decode(self, step: Step) -> Work:
        """Get ready for tokens, after the prompt has run: it is copied to all sequences.

        Given ids are taken one after another, one for each sequence of each token, and then again
        from the first.
        """
        tokens = step.ids or self._draw(_DRAWN_IDS)
        self._share_prompt()
        count = self._sequences
        batch = one_each(count)
        endless = cycle(tokens)
        steps: Iterator[Any] = cycle([[next(endless) for _ in range(count)] for _ in tokens])
        ids = ctypes.cast(batch.token, ctypes.POINTER(ctypes.c_int32 * count)).contents
        decode = self._runner([batch])
        self._rows = count

        def run() -> None:
            ids[:] = next(steps)
            decode()

        return Work(run=run, items=count)

    def _runner(self, batches: list[Any]) -> Callable[[], None]:
        context, decode, synchronize = self._context, lib.llama_decode, lib.llama_synchronize
        read_logits = lib.llama_get_logits

        def run() -> None:
            for batch in batches:
                code = decode(context, batch)
                if code != 0:
                    raise RuntimeError(f"llama_decode failed with code {code}: {why(code)}")
            synchronize(context)
            read_logits(context)

        return run

    def _share_prompt(self) -> None:
        """Give every sequence the first one's cache, for now and not when the clock runs.

        llama.cpp copies a sequence only when it decodes next, so one token is decoded and taken
        back.
        """
        filled = lib.llama_memory_seq_pos_max(self._memory, 0) + 1
        behind = [
            other
            for other in range(1, self._sequences)
            if lib.llama_memory_seq_pos_max(self._memory, other) + 1 < filled
        ]
        for other in behind:
            lib.llama_memory_seq_rm(self._memory, other, -1, -1)
            lib.llama_memory_seq_cp(self._memory, 0, other, -1, -1)
        if behind:
            self._runner([one_each(self._sequences)])()
            for sequence in range(self._sequences):
                lib.llama_memory_seq_rm(self._memory, sequence, filled, -1)

    def _draw(self, count: int) -> list[int]:
        return drawn(self._random, self._vocab, count)
