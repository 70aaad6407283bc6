"""What a GGUF file says about itself: read from its header, never from its data."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gguf import LlamaFileType

from cpufit.artifacts.asis.gguf_header import read_header
from cpufit.artifacts.base import About, Built
from cpufit.errors import DataError
from cpufit.units import size

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.asis.gguf_header import Header
    from cpufit.precisions import Precision
    from cpufit.schema import Model

_F16_BYTES = 2
_FLOATS: dict[str, Precision] = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_INT8_BITS = 6  # per weight; from here on 8 bits are nearer than 4


def inspect(file: Path, model: Model) -> Built:  # noqa: ARG001 - the Inspector protocol
    """Describe the file; raise DataError where it is damaged or holds no language model."""
    header = _read(file)
    return Built(
        file=file,
        parameters=_parameters(header),
        format=_format(header),
        recipe=f"{file.name} as it is",
        kv_bytes_per_token=_kv_bytes_per_token(header),
        notes=_notes(header),
    )


def about(file: Path) -> About:
    """Return the precision nearest to its bits per weight, and what it is; raise as `inspect`."""
    header = _read(file)
    context = _number(header, f"{_architecture(header)}.context_length")
    return About(precision=_precision(header), family="llm", context_tokens=context)


def _precision(header: Header) -> Precision:
    plain = _FLOATS.get(_format(header))
    if plain is not None:
        return plain
    stored = sum(tensor.size_bytes for tensor in header.tensors)
    return "int8" if 8 * stored >= _INT8_BITS * _parameters(header) else "int4"


def _read(file: Path) -> Header:
    try:
        header, held = read_header(file), file.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    except ValueError as error:
        raise DataError(
            f"{file} is no whole GGUF file: {error}", "copy or download it again"
        ) from error
    if held < header.end:
        raise DataError(
            f"{file} is cut short: it holds {size(held)} of {size(header.end)}",
            "copy or download it again",
        )
    _check_kind(file, header)
    return header


def _check_kind(file: Path, header: Header) -> None:
    parts = _number(header, "split.count")
    if parts > 1:
        raise DataError(
            f"{file} is one of {parts} parts", "join them with llama-gguf-split --merge"
        )
    if not header.tensors:
        raise DataError(f"{file} holds no weights", "name a model, not a vocabulary")
    if header.keys.get(f"{_architecture(header)}.attention.causal") is False:
        raise DataError(f"{file} is an encoder", "name a model that generates text")


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
