"""llama.cpp through the C interface that llama-cpp-python carries.

One step is one `llama_decode` per 2048 tokens (`llama_encode` per sequence of an encoder) with
batches made beforehand, so that the timed region holds no Python but three foreign calls. Token ids
are random: the same prompt again and again would flatter caches. Nothing here turns ids into text.
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
import numpy as np

from cpufit.errors import DataError, UnsupportedError
from cpufit.runtimes import check_sight
from cpufit.runtimes.base import Work
from cpufit.runtimes.tensors import make_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.tensors import Array
    from cpufit.schema import Artifact

_BATCH, _UBATCH = 2048, 512  # llama-bench's
SIGHT = "sense.gguf"  # beside a model that is shown a picture
_DRAWN_IDS = 1024  # drawn once for decoding and then used round and round
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


class _Loaded:
    """A loaded GGUF model with one context."""

    def __init__(
        self, artifact: Artifact, options: LoadOptions, changes: Mapping[str, int]
    ) -> None:
        self._model: int | None = _load_model(Path(artifact.path))
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


class LlamaSession(_Loaded):
    """A language model."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        changes = {"n_batch": _BATCH, "n_ubatch": _UBATCH, "n_seq_max": options.batch}
        super().__init__(artifact, options, changes)
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._sequences = options.batch
        self._memory = lib.llama_get_memory(self._context)
        self._vocab: int = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._rows = 0  # of logits that the last step computed

    def prepare(self, step: Step) -> Work:
        """Get ready for a prompt or a token; see `Step`.

        With several sequences a prompt fills the first; 'decode', which must then be prepared
        after the prompt has run, copies it to the others. Given ids are taken one after another,
        one for each sequence of each token, and then again from the first.
        """
        if step.kind == "prefill":
            return self._prefill(step.ids or self._draw(step.tokens))
        if step.kind == "decode":
            return self._decode(step.ids or self._draw(_DRAWN_IDS))
        raise UnsupportedError(
            f"a language model does no {step.kind!r} steps", "measure how it generates"
        )

    def inputs(self) -> Mapping[str, Array]:
        """Return nothing: a language model's ids come with each step."""
        return {}

    def outputs(self) -> Mapping[str, Array]:
        """Return the last step's logits: sequences x vocabulary, alike after a shared prompt."""
        size = self._rows * self._vocab
        found = np.ctypeslib.as_array(lib.llama_get_logits(self._context), (size,))
        rows = found.reshape(self._rows, self._vocab)
        return {"logits": np.repeat(rows, self._sequences // self._rows, axis=0)}

    def _prefill(self, tokens: Sequence[int]) -> Work:
        lib.llama_memory_clear(self._memory, False)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        wanted = (ctypes.c_int8 * len(tokens))()
        wanted[-1] = 1  # only the last token's logits are computed
        batches = [_slice(ids, wanted, start, _BATCH) for start in range(0, len(tokens), _BATCH)]
        self._rows = 1
        return Work(run=self._runner(batches), items=len(tokens))

    def _decode(self, tokens: Sequence[int]) -> Work:
        self._share_prompt()
        count = self._sequences
        batch = _one_each(count)
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


class LlamaEncoder(_Loaded):
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

    def prepare(self, step: Step) -> Work:
        """Return one pass over the batch; raise UnsupportedError for any other kind of step."""
        if step.kind != "infer":
            raise UnsupportedError(f"an encoder has no {step.kind} step", "it generates nothing")
        context, encode, read = self._context, lib.llama_encode, lib.llama_get_embeddings
        places = [row.ctypes.data for row in self._hidden]
        size = self._hidden[0].nbytes

        def run() -> None:
            for batch, place in zip(self._batches, places, strict=True):
                code = encode(context, batch)
                if code != 0:
                    raise RuntimeError(f"llama_encode failed with code {code}: {_LOG.reason()}")
                ctypes.memmove(place, read(context), size)

        return Work(run=run, items=len(self._batches))

    def outputs(self) -> Mapping[str, Array]:
        """Return the last layer's output of every token: batch x tokens x hidden."""
        return {"last_hidden_state": self._hidden.copy()}


class LlamaRuntime:
    """llama.cpp on the CPU."""

    clock: Callable[[], int] = staticmethod(time.perf_counter_ns)

    def versions(self) -> Mapping[str, str]:
        """Return the package's version and, where it tells, the library's."""
        found = {"llama-cpp-python": version("llama-cpp-python")}
        if hasattr(lib, "llama_version"):  # older ones do not tell
            found["llama.cpp"] = lib.llama_version().decode()
        return found

    def load(self, artifact: Artifact, options: LoadOptions) -> LlamaSession | LlamaEncoder:
        """Load a GGUF file; one with inputs of its own is an encoder.

        Raises DataError with llama.cpp's reason where it refuses the file, UnavailableError where
        it would need libmtmd, UnsupportedError where the model's context is too short,
        RuntimeError where the context cannot be set up.
        """
        lib.llama_log_set(_LOG.callback, ctypes.c_void_p(0))
        _LOG.clear()
        lib.llama_backend_init()
        if Path(artifact.path).with_name(SIGHT).is_file():
            check_sight()
            from cpufit.runtimes.llama_sight import LlamaSightSession

            return LlamaSightSession(artifact, options)
        kind = LlamaEncoder if artifact.inputs else LlamaSession
        return kind(artifact, options)


def failure() -> str:
    """Return what llama.cpp last complained of."""
    return _LOG.reason()


def _load_model(file: Path) -> int:
    model = lib.llama_model_load_from_file(str(file).encode(), lib.llama_model_default_params())
    if not model:
        reason = _LOG.reason()
        remedy = "if it is not your own file, clear the cache and build it again"
        if "unknown model architecture" in reason:
            remedy = "update llama-cpp-python, or convert the file for an architecture it has"
        raise DataError(f"llama.cpp cannot load {file}: {reason}", remedy)
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


def _slice(ids: ctypes.Array[ctypes.c_int32], wanted: Any, start: int, most: int) -> Any:
    """Return a batch over ids[start : start + most] in sequence 0; positions run on."""
    count = min(most, len(ids) - start)
    step = ctypes.sizeof(ctypes.c_int32)
    token = ctypes.cast(ctypes.byref(ids, start * step), _Ids)
    logits = ctypes.cast(ctypes.byref(wanted, start), ctypes.POINTER(ctypes.c_int8))
    batch = lib.llama_batch(n_tokens=count, token=token, logits=logits)
    batch.keep = (ids, wanted)  # the pointers above do not own their memory
    return batch


def _whole(ids: Array) -> Any:
    """Return a batch over all ids in sequence 0, every token's output wanted."""
    tokens = (ctypes.c_int32 * len(ids))(*ids.tolist())
    wanted = (ctypes.c_int8 * len(ids))(*[1] * len(ids))
    return _slice(tokens, wanted, 0, len(ids))


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
