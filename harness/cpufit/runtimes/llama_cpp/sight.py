"""A language model on llama.cpp that is shown a picture first, through libmtmd.

The picture lies ready as pixels; cutting and normalising it is done once, outside the clock.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import llama_cpp as lib
import numpy as np
from llama_cpp import mtmd_cpp as mtmd

from cpufit.errors import DataError
from cpufit.runtimes.base import Work
from cpufit.runtimes.llama_cpp.decoder import LlamaSession
from cpufit.runtimes.llama_cpp.library import REBUILD, failure
from cpufit.runtimes.tokens import check_alone, sense_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.schema import Artifact

_SIDE = 224  # of the picture given; libmtmd scales it to what the file says


class LlamaSightSession(LlamaSession):
    """A decoder with what it sees with: 'prefill' shows the picture, then the prompt."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        check_alone(options)
        # Room for the picture, whose rows are not known before the context is there.
        super().__init__(artifact, replace(options, context_tokens=options.context_tokens + 64))
        self._sight = _open(sense_file(artifact), self._model, options.threads)
        self._chunk = _picture(self._sight)
        self._count = int(mtmd.mtmd_input_chunk_get_n_tokens(self._chunk))

    def encode(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Look at the picture, alone."""
        return Work(run=self._look, items=1)

    def close(self) -> None:
        """Free both models."""
        if getattr(self, "_sight", None):
            mtmd.mtmd_free(self._sight)
            self._sight = 0
        super().close()

    def prefill(self, step: Step) -> Work:
        """Get ready to show the picture, then the prompt."""
        asked = super().prefill(step)
        shown: Callable[[], None] | None = None

        def run() -> None:
            nonlocal shown
            self._look()
            shown = shown or self._runner([self._rows_batch()])
            shown()
            asked.run()

        return Work(run=run, items=asked.items)

    def _look(self) -> None:
        code = mtmd.mtmd_encode_chunk(self._sight, self._chunk)
        if code != 0:
            raise RuntimeError(f"mtmd_encode_chunk failed with code {code}: {failure()}")

    def _rows_batch(self) -> Any:
        """Return a batch over the rows that the picture gave, where they lie."""
        wanted = (ctypes.c_int8 * self._count)()
        rows = mtmd.mtmd_get_output_embd(self._sight)
        batch = lib.llama_batch(n_tokens=self._count, embd=rows, logits=wanted)
        batch.keep = (wanted,)
        return batch


def _open(file: Path, model: int | None, threads: int) -> int:
    params = mtmd.mtmd_context_params_default()
    params.use_gpu, params.print_timings, params.warmup = False, False, False
    params.n_threads = threads
    found = mtmd.mtmd_init_from_file(str(file).encode(), model, params)
    if not found:
        raise DataError(f"llama.cpp cannot load {file}: {failure()}", REBUILD)
    return int(found)


def _picture(sight: int) -> Any:
    """Return a picture as libmtmd takes it, scaled and normalised."""
    pixels = np.random.PCG64(0).random_raw(_SIDE * _SIDE * 3).astype(np.uint8)
    data = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    bitmap = mtmd.mtmd_bitmap_init(_SIDE, _SIDE, data)
    marker = mtmd.mtmd_default_marker()
    text = mtmd.mtmd_input_text(text=marker, text_len=len(marker), add_special=False)
    chunks = mtmd.mtmd_input_chunks_init()
    bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
    code = mtmd.mtmd_tokenize(sight, chunks, ctypes.byref(text), bitmaps, 1)
    mtmd.mtmd_bitmap_free(bitmap)
    count = mtmd.mtmd_input_chunks_size(chunks) if code == 0 else 0
    found = [mtmd.mtmd_input_chunks_get(chunks, index) for index in range(count)]
    images = [
        chunk
        for chunk in found
        if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE
    ]
    if len(images) != 1:
        raise RuntimeError(f"libmtmd made {len(images)} pictures of one: {failure()}")
    return images[0]
