"""An encoder on llama.cpp: one pass is one `llama_encode` per sequence.

A causal model that makes embeddings is run by `llama_decode` instead, each time from an empty
cache, as llama.cpp's own embedding tool runs it.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import llama_cpp as lib
import numpy as np

from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.inputs import make_input
from cpufit.runtimes.llama_cpp.library import Loaded, failure, sliced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact


class LlamaEncoder(Stepping, Loaded):
    """An encoder: one pass over fixed token ids, every sequence of the batch on its own.

    Several sequences in one pass would multiply all tokens with all others and then mask most.
    """

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        ids = make_input(artifact.inputs[0], options.batch, options.seed)
        tokens = ids.shape[1]
        changes = {
            "n_ctx": tokens,
            "n_batch": tokens,
            "n_ubatch": tokens,
            "embeddings": True,
        }
        super().__init__(artifact, options, changes)
        self._memory = lib.llama_get_memory(self._context)  # none where all looks at all
        self._pools = lib.llama_pooling_type(self._context) != lib.LLAMA_POOLING_TYPE_NONE
        self._batches = [_whole(row) for row in ids]
        self._hidden = np.empty((len(ids), 1 if self._pools else tokens, self._width()), np.float32)

    def infer(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Return one pass over the batch."""
        context, memory = self._context, self._memory
        encode = lib.llama_decode if memory else lib.llama_encode
        read = _pooled if self._pools else lib.llama_get_embeddings
        places = [row.ctypes.data for row in self._hidden]
        size = self._hidden[0].nbytes

        def run() -> None:
            for batch, place in zip(self._batches, places, strict=True):
                if memory:
                    lib.llama_memory_clear(memory, False)
                code = encode(context, batch)
                if code != 0:
                    raise RuntimeError(f"llama.cpp failed with code {code}: {failure()}")
                ctypes.memmove(place, read(context), size)

        return Work(run=run, items=len(self._batches))

    def outputs(self) -> Mapping[str, Array]:
        """Return the last layer's output of every token: batch x tokens x hidden.

        Of a file that pools, what stands for each text: batch x hidden.
        """
        if self._pools:
            return {"embedding": self._hidden[:, 0].copy()}
        return {"last_hidden_state": self._hidden.copy()}

    def _width(self) -> int:
        """Return how many numbers a row has: of a model that ranks, its classes."""
        if lib.llama_pooling_type(self._context) == lib.LLAMA_POOLING_TYPE_RANK:
            return int(lib.llama_model_n_cls_out(self._model))
        given = getattr(lib, "llama_model_n_embd_out", lib.llama_model_n_embd)
        return int(given(self._model))


def _pooled(context: Any) -> Any:
    return lib.llama_get_embeddings_seq(context, 0)


def _whole(ids: Array) -> Any:
    """Return a batch over all ids in sequence 0, every token's output wanted."""
    tokens = (ctypes.c_int32 * len(ids))(*ids.tolist())
    wanted = (ctypes.c_int8 * len(ids))(*[1] * len(ids))
    return sliced(tokens, wanted, 0, len(ids))
