"""An encoder on llama.cpp: one pass is one `llama_encode` per sequence."""

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
            "pooling_type": lib.LLAMA_POOLING_TYPE_NONE,
        }
        super().__init__(artifact, options, changes)
        self._batches = [_whole(row) for row in ids]
        width = lib.llama_model_n_embd(self._model)
        self._hidden = np.empty((*ids.shape, width), np.float32)

    def infer(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Return one pass over the batch."""
        context, encode, read = self._context, lib.llama_encode, lib.llama_get_embeddings
        places = [row.ctypes.data for row in self._hidden]
        size = self._hidden[0].nbytes

        def run() -> None:
            for batch, place in zip(self._batches, places, strict=True):
                code = encode(context, batch)
                if code != 0:
                    raise RuntimeError(f"llama_encode failed with code {code}: {failure()}")
                ctypes.memmove(place, read(context), size)

        return Work(run=run, items=len(self._batches))

    def outputs(self) -> Mapping[str, Array]:
        """Return the last layer's output of every token: batch x tokens x hidden."""
        return {"last_hidden_state": self._hidden.copy()}


def _whole(ids: Array) -> Any:
    """Return a batch over all ids in sequence 0, every token's output wanted."""
    tokens = (ctypes.c_int32 * len(ids))(*ids.tolist())
    wanted = (ctypes.c_int8 * len(ids))(*[1] * len(ids))
    return sliced(tokens, wanted, 0, len(ids))
