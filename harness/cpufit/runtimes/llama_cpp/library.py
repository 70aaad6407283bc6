"""llama.cpp's C interface, as llama-cpp-python carries it: loading, logging, batches.

Batches are made beforehand, so that a timed region holds no Python but three foreign calls.
"""

from __future__ import annotations

import ctypes
from collections import deque
from typing import TYPE_CHECKING, Any

import llama_cpp as lib

from cpufit.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cpufit.runtimes.base import LoadOptions
    from cpufit.schema import Artifact

REBUILD = "clear the cache (`cpufit cache clear`) and run again"  # of what cpufit made
_WARN, _ERROR = 3, 4  # ggml_log_level
_Ids = ctypes.POINTER(ctypes.c_int32)


class _Log:
    """What llama.cpp would print: complaints, and the settings only its log tells."""

    def __init__(self) -> None:
        self._complaints: deque[str] = deque(maxlen=6)
        self.buffers: list[str] = []
        self.flash_attention = ""
        self.callback = lib.llama_log_callback(self._take)

    def clear(self) -> None:
        """Forget everything before a new model is loaded."""
        self._complaints.clear()
        self.buffers.clear()
        self.flash_attention = ""

    def reason(self) -> str:
        """Return llama.cpp's first error in one line: what follows it only repeats it."""
        return self._complaints[0] if self._complaints else "no reason given"

    def _take(self, level: int, text: bytes, _data: object) -> None:
        line = " ".join(text.decode(errors="replace").split())
        if level == _ERROR and line:
            self._complaints.append(line)
        elif " buffer size = " in line:
            self.buffers.append(line.partition(": ")[2].replace(" buffer size =", ""))
        elif "Flash Attention" in line:  # '... enabled', or '... set to disabled'
            self.flash_attention = line.rpartition(" ")[2]


_LOG = _Log()


def begin() -> None:
    """Start the library, and forget what it said of another model."""
    lib.llama_log_set(_LOG.callback, ctypes.c_void_p(0))
    _LOG.clear()
    lib.llama_backend_init()


class Loaded:
    """A loaded GGUF model with one context."""

    def __init__(
        self, artifact: Artifact, options: LoadOptions, changes: Mapping[str, int]
    ) -> None:
        self._model: int | None = _load_model(artifact)
        self._context: int | None = None
        try:
            # The context is shared out among the sequences.
            room = _room(self._model, options) * options.batch
            self._context = _make_context(self._model, options.threads, {"n_ctx": room, **changes})
        except BaseException:
            self.close()
            raise
        self.settings: Mapping[str, str] = _settings(self._model, self._context)
        self.notes: tuple[str, ...] = tuple(
            f"{buffer}: weights re-laid for this CPU, in memory beside the mapped file"
            for buffer in _LOG.buffers
            if "REPACK" in buffer
        )

    def close(self) -> None:
        """Free the context and the model."""
        if self._context is not None:
            lib.llama_free(self._context)
            self._context = None
        if self._model is not None:
            lib.llama_model_free(self._model)
            self._model = None


def failure() -> str:
    """Return what llama.cpp last complained of."""
    return _LOG.reason()


def _load_model(artifact: Artifact) -> int:
    params = lib.llama_model_default_params()
    model = lib.llama_model_load_from_file(artifact.path.encode(), params)
    if not model:
        reason = _LOG.reason()
        remedy = "download or convert it again, or update llama-cpp-python"
        if not artifact.as_it_is:
            remedy = REBUILD
        if "unknown model architecture" in reason:
            remedy = "update llama-cpp-python, or convert the file for an architecture it has"
        raise DataError(f"llama.cpp cannot load {artifact.path}: {reason}", remedy)
    return int(model)


def _room(model: int, options: LoadOptions) -> int:
    """Return the tokens a sequence may have."""
    longest, limit = options.context_tokens, lib.llama_model_n_ctx_train(model)
    if longest > limit:
        raise UnsupportedError(
            f"{longest} tokens do not fit the model's context of {limit}", "ask for fewer tokens"
        )
    return longest or limit


def _make_context(model: int, threads: int, changes: Mapping[str, int]) -> int:
    params = lib.llama_context_default_params()
    params.n_threads = params.n_threads_batch = threads
    params.no_perf = True
    for name, value in changes.items():
        setattr(params, name, value)
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError(f"llama.cpp cannot hold {params.n_ctx} tokens: {_LOG.reason()}")
    return int(context)


def _settings(model: int, context: int) -> dict[str, str]:
    params = lib.llama_context_default_params()  # types of the cache are left at their default
    kinds = {0: "f32", 1: "f16"}
    return {
        "n_ctx": str(lib.llama_n_ctx(context)),
        "n_batch": str(lib.llama_n_batch(context)),
        "n_ubatch": str(lib.llama_n_ubatch(context)),
        "n_seq_max": str(lib.llama_n_seq_max(context)),
        "threads": str(lib.llama_n_threads(context)),
        "threads_batch": str(lib.llama_n_threads_batch(context)),
        "flash_attention": f"auto, {_LOG.flash_attention or 'not reported'}",
        "cache_type_k": kinds.get(params.type_k, str(params.type_k)),
        "cache_type_v": kinds.get(params.type_v, str(params.type_v)),
        "mmap": "yes" if any("_Mapped" in buffer for buffer in _LOG.buffers) else "no",
        "buffers": "; ".join(_LOG.buffers),
        "model_parameters": str(lib.llama_model_n_params(model)),
        "model_bytes": str(lib.llama_model_size(model)),
        "system_info": lib.llama_print_system_info().decode().strip(" |"),
    }


def sliced(ids: ctypes.Array[ctypes.c_int32], wanted: Any, start: int, most: int) -> Any:
    """Return a batch over ids[start : start + most] in sequence 0; positions run on."""
    count = min(most, len(ids) - start)
    step = ctypes.sizeof(ctypes.c_int32)
    token = ctypes.cast(ctypes.byref(ids, start * step), _Ids)
    logits = ctypes.cast(ctypes.byref(wanted, start), ctypes.POINTER(ctypes.c_int8))
    batch = lib.llama_batch(n_tokens=count, token=token, logits=logits)
    batch.keep = (ids, wanted)  # the pointers above do not own their memory
    return batch


def one_each(sequences: int) -> Any:
    """Return a batch of token 0 for each of the sequences, at whatever position comes next."""
    ids = (ctypes.c_int32 * sequences)()
    counts = (ctypes.c_int32 * sequences)(*[1] * sequences)
    numbers = (ctypes.c_int32 * sequences)(*range(sequences))
    size = ctypes.sizeof(ctypes.c_int32)
    pointers: Iterator[Any] = (
        ctypes.cast(ctypes.byref(numbers, i * size), _Ids) for i in range(sequences)
    )
    rows = (_Ids * sequences)(*pointers)
    wanted = (ctypes.c_int8 * sequences)(*[1] * sequences)
    batch = lib.llama_batch(
        n_tokens=sequences, token=ids, n_seq_id=counts, seq_id=rows, logits=wanted
    )
    batch.keep = (ids, counts, numbers, rows, wanted)
    return batch


def why(code: int) -> str:
    """Return what a failed `llama_decode` means."""
    return "the context is full" if code == 1 else _LOG.reason()
