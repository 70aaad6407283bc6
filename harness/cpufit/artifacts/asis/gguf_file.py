"""What a GGUF file says about itself: read from its header, never from its data."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from gguf import LlamaFileType

from cpufit.artifacts.asis import kinds
from cpufit.artifacts.asis.gguf_header import ForeignError, read_header
from cpufit.artifacts.base import About, Built
from cpufit.artifacts.split import parts_of
from cpufit.errors import DataError, UnsupportedError
from cpufit.schema import Input
from cpufit.units import size

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.asis.gguf_header import Header
    from cpufit.precisions import Precision
    from cpufit.schema import Family, Model

_EYES = "is what a model sees or hears with (mmproj), and no model alone"
_ITS_MODEL = "name the language model beside it"
_ALONE = "name a model that writes or reads text alone"
_F16_BYTES = 2
_FLOATS: dict[str, Precision] = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_TOKENS = 128  # of a text that is read at once
_ENCODERS = frozenset(("t5encoder",))
_PICTURES = frozenset(
    "flux sd1 sdxl sd3 aura hidream cosmos ltxv hyvid wan lumina2 qwen_image z_image chroma".split()
)
_OTHERS = {  # what `general.type` or the architecture says -> what that is, and what to do
    "adapter": ("is an adapter (LoRA), no model", "merge it with llama-export-lora first"),
    "controlvector": ("is a control vector, no model", "name the model that it is for"),
    "imatrix": ("holds an importance matrix, no model", "name the model that it is for"),
    "mmproj": (_EYES, _ITS_MODEL),
    "clip": (_EYES, _ITS_MODEL),
    "t5": ("is a T5, which reads with an encoder and writes with a decoder", _ALONE),
    "wavtokenizer-dec": ("makes sound from codes, and no text", _ALONE),
}
_INT8_BITS = 6  # per weight; from here on 8 bits are nearer than 4


def inspect(file: Path, model: Model) -> Built:  # noqa: ARG001 - the Inspector protocol
    """Describe the file; raise DataError where it is damaged, UnsupportedError for other kinds."""
    header = _read(file)
    built = Built(
        file=file,
        parameters=_parameters(header),
        format=_format(header),
        recipe=f"as it is: {file.name}",
        notes=_notes(header),
    )
    if _is_encoder(header):
        return _with_ids(built, header)
    return replace(built, kv_bytes_per_token=_kv_bytes_per_token(header))


def about(file: Path) -> About:
    """Return the precision nearest to its bits per weight, and what it is; raise as `inspect`."""
    header = _read(file)
    family: Family = "encoder" if _is_encoder(header) else "llm"
    return About(precision=_precision(header), family=family, context_tokens=_context(header))


def _with_ids(built: Built, header: Header) -> Built:
    """Return the description of a model that reads a text at once, with the ids it is given."""
    tokens = min(_TOKENS, _context(header) or _TOKENS)
    table = next((t for t in header.tensors if t.name == "token_embd.weight"), None)
    if table is None:
        raise UnsupportedError(f"{built.file} has no table of tokens", "name a model of texts")
    ids = Input(
        name="input_ids", dtype="int32", shape=("batch", tokens), fill=f"ids:{table.shape[-1]}"
    )
    note = f"it reads a text at once, as embeddings are made: measured at {tokens} tokens"
    return replace(built, inputs=(ids,), notes=(*built.notes, note))


def _precision(header: Header) -> Precision:
    plain = _FLOATS.get(_format(header))
    if plain is not None:
        return plain
    stored = sum(tensor.size_bytes for tensor in header.tensors)
    return "int8" if 8 * stored >= _INT8_BITS * _parameters(header) else "int4"


def _read(file: Path) -> Header:
    """Return the header, of a model in several parts with the tensors of them all."""
    header = _whole(file)
    _check_kind(file, header)
    others = [_part(part, number, header) for number, part in enumerate(_others(file, header), 1)]
    joined = tuple(tensor for one in (header, *others) for tensor in one.tensors)
    if not joined:
        raise DataError(f"{file} holds no weights", "name a model, not a vocabulary")
    return replace(header, tensors=joined)


def _others(file: Path, first: Header) -> tuple[Path, ...]:
    """Return the parts after the first; raise where it is not the first, or where one is missing.

    llama.cpp, too, finds them by their names.
    """
    count, parts = _number(first, "split.count"), parts_of(file)
    if count <= 1:
        return ()
    if len(parts) != count:
        raise DataError(
            f"{file} is one of {count} parts, but not called so",
            f"name the first one model-00001-of-{count:05}.gguf, and the others alike",
        )
    if number := _number(first, "split.no"):
        if file == parts[0]:
            words = f"{file} is part {number + 1} of {count}, but called the first"
            raise DataError(words, "the parts' names are mixed up: download them again")
        raise UnsupportedError(f"{file} is not the first of {count} parts", f"name {parts[0]}")
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        words = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" * (len(missing) > 3))
        verb = "are" if len(missing) > 1 else "is"
        raise DataError(f"of the {count} parts of {file}, {words} {verb} missing", "download them")
    return parts[1:]


def _part(file: Path, number: int, first: Header) -> Header:
    """Return the header of a part; raise DataError where it is another, or of another model."""
    kinds.check(file)
    found, count = _whole(file), _number(first, "split.count")
    alike = ("split.count", "split.tensors.count")
    other = any(_number(found, key, _number(first, key)) != _number(first, key) for key in alike)
    if other or _number(found, "split.no") != number:
        words = f"is not part {number + 1} of the {count} of this model"
        raise DataError(f"{file} {words}", "download it again")
    return found


def _whole(file: Path) -> Header:
    try:
        header, held = read_header(file), file.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    except ForeignError as error:
        remedy = error.remedy.replace("FILE", str(file))
        raise UnsupportedError(f"{file} {error}", remedy) from error
    except ValueError as error:
        raise DataError(
            f"{file} is no whole GGUF file: {error}", "copy or download it again"
        ) from error
    if held < header.end:
        raise DataError(
            f"{file} is cut short: it holds {size(held)} of {size(header.end)}",
            "copy or download it again",
        )
    return header


def _check_kind(file: Path, header: Header) -> None:
    """Raise UnsupportedError where the file is whole, but no model of texts."""
    kind = header.keys.get("general.type")
    for found, (words, remedy) in _OTHERS.items():
        if found in (kind, _architecture(header)):
            raise UnsupportedError(f"{file} {words}", remedy)
    if _architecture(header) in _PICTURES:
        raise UnsupportedError(
            f"{file} makes pictures ({_architecture(header)})",
            "the catalog has a step of such a model: --model sd15-unet",
        )


def _is_encoder(header: Header) -> bool:
    """Whether it reads a text at once: all of it looks at all, or one row stands for it in the end.

    A causal model with a pooling type makes embeddings: it is not asked for tokens.
    """
    arch = _architecture(header)
    pools = _number(header, f"{arch}.pooling_type") > 0
    return pools or header.keys.get(f"{arch}.attention.causal") is False or arch in _ENCODERS


def _context(header: Header) -> int:
    return max(0, _number(header, f"{_architecture(header)}.context_length"))


def _number(header: Header, key: str, default: int = 0) -> int:
    """Return a number of the header; the largest where it is given for each layer."""
    value = header.keys.get(key, default)
    if isinstance(value, tuple):
        value = max(value, default=default)
    return int(value) if isinstance(value, int) else default


def _architecture(header: Header) -> str:
    return str(header.keys.get("general.architecture", "unknown"))


def _parameters(header: Header) -> int:
    return sum(tensor.parameters for tensor in header.tensors)


def _format(header: Header) -> str:
    """Return the name of the file type, or of the format most weights have."""
    try:
        name = LlamaFileType(_number(header, "general.file_type", -1)).name
    except ValueError:
        weights: Counter[str] = Counter()
        for tensor in header.tensors:
            weights[tensor.kind.name] += tensor.parameters
        return weights.most_common(1)[0][0]
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def _kv_bytes_per_token(header: Header) -> int:
    """Return the f16 cache of one token in all layers; 0 where the header does not say."""
    arch = _architecture(header)
    heads = _number(header, f"{arch}.attention.head_count")
    if not heads:
        return 0
    width = _number(header, f"{arch}.embedding_length") // heads
    keys = _number(header, f"{arch}.attention.key_length", width)
    values = _number(header, f"{arch}.attention.value_length", width)
    kv_heads = _number(header, f"{arch}.attention.head_count_kv", heads)
    return _number(header, f"{arch}.block_count") * kv_heads * (keys + values) * _F16_BYTES


def _notes(header: Header) -> tuple[str, ...]:
    arch = _architecture(header)
    notes = [f"architecture {arch}, context {_number(header, f'{arch}.context_length')} tokens"]
    if _number(header, f"{arch}.attention.sliding_window"):
        notes.append("sliding window: the cache may be smaller than its bytes per token say")
    if _number(header, f"{arch}.expert_count"):
        notes.append("mixture of experts: a token uses part of the parameters")
    return tuple(notes)
