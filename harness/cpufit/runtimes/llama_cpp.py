"""llama.cpp through the C interface that llama-cpp-python carries.

One step is one `llama_decode` per 2048 tokens with batches made beforehand, so that the timed
region holds no Python but three foreign calls. Token ids are random: the same prompt again and
again would flatter caches. Without a tokenizer nothing here may turn ids into text.
"""

from __future__ import annotations

import ctypes
import time
from collections import deque
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import llama_cpp as lib

from cpufit.errors import DataError, UnsupportedError
from cpufit.runtimes.base import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.schema import Artifact

_BATCH, _UBATCH = 2048, 512  # llama-bench's
_DRAWN_STEPS = 1024  # of random ids, drawn once for decoding and then used round and round
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


class LlamaSession:
    """A loaded GGUF model with one context."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._sequences = options.batch
        self._model: int | None = _load_model(Path(artifact.path))
        self._context: int | None = None
        try:
            self._context = _make_context(self._model, options)
        except BaseException:
            self.close()
            raise
        self._memory = lib.llama_get_memory(self._context)
        self._vocab: int = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self.settings: Mapping[str, str] = _settings(self._model, self._context)
        self.notes: tuple[str, ...] = tuple(
            f"{buffer}: weights re-laid for this CPU, in memory beside the mapped file"
            for buffer in _LOG.buffers
            if "REPACK" in buffer
        )

    def prepare(self, step: Step) -> Work:
        """Get ready for a prompt or a token; see `Step`.

        With several sequences a prompt fills the first; 'decode', which must then be prepared
        after the prompt has run, copies it to the others.
        """
        if step.kind == "prefill":
            return self._prefill(step.tokens)
        if step.kind == "decode":
            return self._decode()
        raise UnsupportedError(f"llama.cpp does not do {step.kind!r} steps", "use a graph runtime")

    def close(self) -> None:
        """Free the context and the model."""
        if self._context is not None:
            lib.llama_free(self._context)
            self._context = None
        if self._model is not None:
            lib.llama_model_free(self._model)
            self._model = None

    def _prefill(self, tokens: int) -> Work:
        lib.llama_memory_clear(self._memory, False)
        ids = (ctypes.c_int32 * tokens)(*self._draw(tokens))
        wanted = (ctypes.c_int8 * tokens)()
        wanted[-1] = 1  # only the last token's logits are computed
        batches = [_slice(ids, wanted, start) for start in range(0, tokens, _BATCH)]
        return Work(run=self._runner(batches), items=tokens)

    def _decode(self) -> Work:
        self._share_prompt()
        count = self._sequences
        batch = _one_each(count)
        draws: list[Any] = [self._draw(count) for _ in range(_DRAWN_STEPS // count + 1)]
        steps = cycle(draws)
        ids = ctypes.cast(batch.token, ctypes.POINTER(ctypes.c_int32 * count)).contents
        decode = self._runner([batch])

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
                    raise RuntimeError(f"llama_decode failed with code {code}: {_why(code)}")
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
            self._runner([_one_each(self._sequences)])()
            for sequence in range(self._sequences):
                lib.llama_memory_seq_rm(self._memory, sequence, filled, -1)

    def _draw(self, count: int) -> list[int]:
        return [self._random.randrange(self._vocab) for _ in range(count)]


class LlamaRuntime:
    """llama.cpp on the CPU."""

    clock: Callable[[], int] = staticmethod(time.perf_counter_ns)

    def versions(self) -> Mapping[str, str]:
        """Return the package's version and, where it tells, the library's."""
        found = {"llama-cpp-python": version("llama-cpp-python")}
        if hasattr(lib, "llama_version"):  # older ones do not tell
            found["llama.cpp"] = lib.llama_version().decode()
        return found

    def load(self, artifact: Artifact, options: LoadOptions) -> LlamaSession:
        """Load a GGUF file.

        Raises DataError with llama.cpp's reason where it refuses the file, UnsupportedError where
        the model's context is too short, RuntimeError where the context cannot be set up.
        """
        lib.llama_log_set(_LOG.callback, ctypes.c_void_p(0))
        _LOG.clear()
        lib.llama_backend_init()
        return LlamaSession(artifact, options)


def _load_model(file: Path) -> int:
    model = lib.llama_model_load_from_file(str(file).encode(), lib.llama_model_default_params())
    if not model:
        raise DataError(
            f"llama.cpp cannot load {file}: {_LOG.reason()}",
            "if it is not your own file, clear the cache and build it again",
        )
    return int(model)


def _make_context(model: int, options: LoadOptions) -> int:
    longest, limit = options.context_tokens, lib.llama_model_n_ctx_train(model)
    if longest > limit:
        raise UnsupportedError(
            f"{longest} tokens do not fit the model's context of {limit}", "ask for fewer tokens"
        )
    params = lib.llama_context_default_params()
    params.n_ctx = (longest or limit) * options.batch  # shared out among the sequences
    params.n_batch, params.n_ubatch = _BATCH, _UBATCH
    params.n_seq_max = options.batch
    params.n_threads = params.n_threads_batch = options.threads
    params.no_perf = True
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


def _slice(ids: ctypes.Array[ctypes.c_int32], wanted: Any, start: int) -> Any:
    """Return a batch over ids[start : start + _BATCH] in sequence 0; positions run on."""
    count = min(_BATCH, len(ids) - start)
    step = ctypes.sizeof(ctypes.c_int32)
    token = ctypes.cast(ctypes.byref(ids, start * step), _Ids)
    logits = ctypes.cast(ctypes.byref(wanted, start), ctypes.POINTER(ctypes.c_int8))
    batch = lib.llama_batch(n_tokens=count, token=token, logits=logits)
    batch.keep = (ids, wanted)  # the pointers above do not own their memory
    return batch


def _one_each(sequences: int) -> Any:
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


def _why(code: int) -> str:
    return "the context is full" if code == 1 else _LOG.reason()


RUNTIME = LlamaRuntime()
