"""A record as a row of columns: cell and outcome lie flat in it, all else as the dataclasses nest.

The Arrow types are those of the dataclasses' annotations, so that a field is written down once.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from itertools import pairwise
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa
from pydantic import TypeAdapter

from cpufit.schema import Cell, Outcome, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The ten names of a cell's key, in the order people read them.
CELL = tuple("model variant size inputs weights precision runtime scenario threads batch".split())
_FLAT = {"cell": Cell, "outcome": Outcome}
_PLAIN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_RECORD = TypeAdapter(Record)
_RECORDS = TypeAdapter(list[Record])


def arrow_type(kind: Any) -> pa.DataType:
    """Return the Arrow type of an annotation; what may be None is that type, which may be null."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_dataclass(kind):
        return pa.struct({name: arrow_type(part) for name, part in _annotated(kind)})
    origin, parts = get_origin(kind), [part for part in get_args(kind) if part is not NoneType]
    if origin is tuple:
        return pa.list_(arrow_type(parts[0]))
    if origin is dict:
        return pa.map_(arrow_type(parts[0]), arrow_type(parts[1]))
    # Words of a Literal are text, and so is an axis: a number or the name of one.
    return arrow_type(parts[0]) if origin is not Literal and len(parts) == 1 else pa.string()


def _annotated(kind: Any) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(kind)
    return ((field.name, hints[field.name]) for field in fields(kind))


def _columns() -> Iterator[tuple[str, pa.DataType]]:
    for name, kind in _annotated(Record):
        flat = _annotated(kind) if name in _FLAT else [(name, kind)]
        yield from ((column, arrow_type(part)) for column, part in flat)


SCHEMA = pa.schema(list(_columns()))


def type_of(name: str) -> pa.DataType:
    """Return the type of a column, or of a struct of only the part that a dot names."""
    top, _, part = name.partition(".")
    whole = SCHEMA.field(top).type
    return pa.struct([whole.field(part)]) if part else whole


def table(records: Sequence[Record]) -> pa.Table:
    """Return records as rows."""
    return pa.Table.from_pylist([_row(record) for record in records], schema=SCHEMA)


def records(rows: pa.RecordBatch, absent: Mapping[str, Any]) -> list[Record]:
    """Return rows as records; `absent` says what columns read as that the rows lack.

    Raises ValidationError, KeyError or TypeError where they are none.
    """
    found = _plain(rows.to_struct_array())
    return _RECORDS.validate_python([_nested({**absent, **row}) for row in found])


def _plain(array: pa.Array) -> list[Any]:
    """Return Python values, several times as fast as `to_pylist`, which makes a scalar of each."""
    kind = array.type
    if pa.types.is_struct(kind):
        names = [part.name for part in kind]
        parts = (_plain(array.field(index)) for index in range(kind.num_fields))
        values: list[Any] = [dict(zip(names, each, strict=True)) for each in zip(*parts)]  # noqa: B905
    elif pa.types.is_map(kind):
        pairs = zip(_between(array, array.keys), _between(array, array.items), strict=True)
        values = [dict(each) for each in _cut(array, list(pairs))]
    elif pa.types.is_list(kind):
        values = _cut(array, _between(array, array.values))
    elif pa.types.is_primitive(kind) and not pa.types.is_boolean(kind) and not array.null_count:
        return list(array.to_numpy().tolist())
    elif pa.types.is_dictionary(kind) and not array.null_count:
        words = array.dictionary.to_pylist()
        return [words[index] for index in array.indices.to_numpy().tolist()]
    else:
        return list(array.to_pylist())
    if array.null_count:
        valid = array.is_valid().to_pylist()
        values = [value if there else None for value, there in zip(values, valid, strict=True)]
    return values


def _between(lists: pa.Array, inner: pa.Array) -> list[Any]:
    """Return what lies in lists or maps, one after another."""
    start, end = lists.offsets[0].as_py(), lists.offsets[-1].as_py()
    return _plain(inner.slice(start, end - start))


def _cut(lists: pa.Array, inner: list[Any]) -> list[Any]:
    """Deal out to each list what is its own."""
    offsets = lists.offsets.to_numpy()
    return [inner[start:end] for start, end in pairwise((offsets - offsets[0]).tolist())]


def _row(record: Record) -> dict[str, Any]:
    nested = _RECORD.dump_python(record)  # many times as fast as dataclasses.asdict
    cell, outcome = nested.pop("cell"), nested.pop("outcome")
    for part in (nested["artifact"] or {}).get("inputs", ()):
        part["shape"] = [str(axis) for axis in part["shape"]]
    return {**nested, **cell, **outcome}


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    flat = {
        name: {field.name: row.pop(field.name) for field in fields(kind)}
        for name, kind in _FLAT.items()
    }
    for part in (row["artifact"] or {}).get("inputs", ()):
        part["shape"] = [int(axis) if axis.isdigit() else axis for axis in part["shape"]]
    return {**row, **flat}
