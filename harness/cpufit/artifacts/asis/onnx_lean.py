"""An ONNX file without the numbers of its weights: what it takes to describe it, and no more.

Protocol buffers are read whole or not at all, and 2 GB of weights with them. Here the bytes are
walked from field to field, and large weights passed over before they are read from the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:
    import mmap

_SMALL = 1 << 16  # bytes; a part of no more is kept whole, with the shapes and axes it may hold
_DEEPEST = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_MODEL, _TENSOR = onnx.ModelProto.DESCRIPTOR, onnx.TensorProto.DESCRIPTOR


def lean(data: mmap.mmap) -> bytes:
    """Return the model without the data of large tensors; ValueError where it is no such file."""
    return _lean(data, 0, len(data), _MODEL, 0)


def _lean(data: mmap.mmap, at: int, end: int, kind: Any, depth: int) -> bytes:
    """Return the message between two places; `kind` is its descriptor."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")
    parts: list[bytes] = []
    kept = at  # from here on nothing was left out
    while at < end:
        start = at
        tag, at = _varint(data, at, end)
        body, at = _body(data, at, end, tag & 7)
        if tag & 7 != _BYTES or at - body <= _SMALL:
            continue
        field = kind.fields_by_number.get(tag >> 3)
        if field is None or not (field.message_type or kind is _TENSOR):
            continue  # a long text
        parts.append(data[kept:start])
        kept = at
        if field.message_type:
            inner = _lean(data, body, at, field.message_type, depth + 1)
            parts += [_bytes_of(tag), _bytes_of(len(inner)), inner]
    parts.append(data[kept:end])
    return b"".join(parts)


def _body(data: mmap.mmap, at: int, end: int, wire: int) -> tuple[int, int]:
    """Return where a field's value begins and ends."""
    if wire == _VARINT:
        return at, _varint(data, at, end)[1]
    width = _WIDTHS.get(wire, -1)
    if wire == _BYTES:
        width, at = _varint(data, at, end)
    if not 0 <= width <= end - at:
        raise ValueError("a part of it runs past its end")
    return at, at + width


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(at, min(at + 10, end)):
        value |= (data[place] & 0x7F) << 7 * (place - at)
        if data[place] < 0x80:
            return value, place + 1
    raise ValueError("a number of it does not end")


def _bytes_of(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
