"""Records to Parquet and back: one file per run, rewritten atomically after every cell.

The file's metadata holds the schema version and what the run was asked to do, so that it can be
resumed; every row holds its cell, its host and its raw samples, so that files can be concatenated.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from cpufit.errors import DataError
from cpufit.files import replacing
from cpufit.schema import SCHEMA_VERSION, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_VERSION_KEY = b"cpufit_schema_version"
_REQUEST_KEY = b"cpufit_request"
_CELL = (
    "model",
    "variant",
    "size",
    "weights",
    "precision",
    "runtime",
    "scenario",
    "threads",
    "batch",
)
_RECORD = TypeAdapter(Record)
_RECORDS = TypeAdapter(list[Record])
# What the columns that came with a version read as in older files.
_SINCE: dict[int, dict[str, Any]] = {
    2: {"parent": "", "numerics": None},
    3: {"size": 0},
    4: {"repeat": 0, "settled": "", "spent_s": 0.0, "counters": {}},
}

_TEXT_MAP = pa.map_(pa.string(), pa.string())
_NUMBER_MAP = pa.map_(pa.string(), pa.float64())
_SERIES = pa.struct(
    {
        "name": pa.string(),
        "unit": pa.string(),
        "size": pa.int64(),
        "items": pa.int64(),
        "values": pa.list_(pa.float64()),
    }
)
_MEMORY = pa.struct(
    {
        "baseline_bytes": pa.int64(),
        "peak_bytes": pa.int64(),
        "anon_bytes": pa.int64(),
        "file_bytes": pa.int64(),
        "kv_cache_bytes": pa.int64(),
        "method": pa.string(),
    }
)
_NUMERICS = pa.struct({"cosine": pa.float64(), "what": pa.string()})
_INPUT = pa.struct(
    {
        "name": pa.string(),
        "dtype": pa.string(),
        "shape": pa.list_(pa.string()),
        "fill": pa.string(),
    }
)
_ARTIFACT = pa.struct(
    {
        "key": pa.string(),
        "path": pa.string(),
        "size_bytes": pa.int64(),
        "parameters": pa.int64(),
        "format": pa.string(),
        "recipe": pa.string(),
        "inputs": pa.list_(_INPUT),
        "kv_bytes_per_token": pa.int64(),
        "notes": pa.list_(pa.string()),
    }
)
_HOST = pa.struct(
    {
        "fingerprint": pa.string(),
        "cpu_model": pa.string(),
        "cpu_vendor": pa.string(),
        "arch": pa.string(),
        "flags": pa.list_(pa.string()),
        "microcode": pa.string(),
        "sockets": pa.int64(),
        "physical_cores": pa.int64(),
        "logical_cores": pa.int64(),
        "usable_cores": pa.float64(),
        "max_mhz": pa.float64(),
        "l1d_bytes": pa.int64(),
        "l2_bytes": pa.int64(),
        "l3_bytes": pa.int64(),
        "ram_bytes": pa.int64(),
        "memory_limit_bytes": pa.int64(),
        "swap_bytes": pa.int64(),
        "os": pa.string(),
        "kernel": pa.string(),
        "governor": pa.string(),
        "turbo": pa.string(),
        "hypervisor": pa.string(),
        "python": pa.string(),
        "packages": _TEXT_MAP,
        "counters": pa.string(),
    }
)
_SCHEMA = pa.schema(
    {
        "schema_version": pa.int64(),
        "run_id": pa.string(),
        "recorded_at": pa.string(),
        "model": pa.string(),
        "variant": pa.string(),
        "size": pa.int64(),
        "weights": pa.string(),
        "precision": pa.string(),
        "runtime": pa.string(),
        "scenario": pa.string(),
        "threads": pa.int64(),
        "batch": pa.int64(),
        "repeat": pa.int64(),
        "settled": pa.string(),
        "spent_s": pa.float64(),
        "budget": pa.string(),
        "family": pa.string(),
        "title": pa.string(),
        "parent": pa.string(),
        "parameters": pa.int64(),
        "macs": pa.int64(),
        "status": pa.string(),
        "reason": pa.string(),
        "remedy": pa.string(),
        "stop": pa.string(),
        "valid": pa.bool_(),
        "load_ns": pa.int64(),
        "first_ns": pa.int64(),
        "series": pa.list_(_SERIES),
        "memory": _MEMORY,
        "numerics": _NUMERICS,
        "artifact": _ARTIFACT,
        "settings": _TEXT_MAP,
        "versions": _TEXT_MAP,
        "noise": _NUMBER_MAP,
        "counters": _NUMBER_MAP,
        "notes": pa.list_(pa.string()),
        "host": _HOST,
    }
)
_OUTCOME = (
    "status",
    "reason",
    "remedy",
    "stop",
    "valid",
    "load_ns",
    "first_ns",
    "series",
    "memory",
    "numerics",
    "settings",
    "versions",
    "noise",
    "counters",
    "notes",
)


@dataclass
class ResultsFile:
    """A run's file, open for adding; what it holds is on disk after every call."""

    path: Path
    request: str  # JSON: what the run was asked to do
    _table: pa.Table = field(default_factory=_SCHEMA.empty_table)

    def add(self, records: Sequence[Record]) -> None:
        """Append records and write the file anew; raise DataError where the disk refuses."""
        rows = pa.Table.from_pylist([_row(record) for record in records], schema=_SCHEMA)
        self._table = pa.concat_tables([self._table, rows])
        self.save()

    def save(self) -> None:
        """Write all rows to the disk; the file is the old one or the new one, never half."""
        metadata = {
            _VERSION_KEY: str(SCHEMA_VERSION).encode(),
            _REQUEST_KEY: self.request.encode(),
        }
        table = self._table.replace_schema_metadata(metadata)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as file:
                pq.write_table(table, file, compression="zstd")
        except OSError as error:
            raise DataError(
                f"cannot write {self.path}: {error.strerror or error}",
                "name another output folder; what was measured before is kept",
            ) from error


def create(path: Path, request: str) -> ResultsFile:
    """Start a new results file, empty but whole, so that an early end can be resumed."""
    results = ResultsFile(path, request)
    results.save()
    return results


def reopen(path: Path, keep: Sequence[Record]) -> ResultsFile:
    """Open an earlier run's file to go on; rows not in `keep` are dropped with the next save."""
    metadata = _read(path).schema.metadata or {}
    results = ResultsFile(path, metadata.get(_REQUEST_KEY, b"").decode())
    results.add(keep)
    return results


def read(paths: Iterable[Path]) -> list[Record]:
    """Read all records; raise DataError for a file that is corrupt, foreign or too new."""
    records: list[Record] = []
    for path in paths:
        table = _read(path)
        rows = table.to_pylist(maps_as_pydicts="strict")
        since = [new for version, new in _SINCE.items() if version > _version(table)]
        absent = {name: value for new in since for name, value in new.items()}
        try:
            records += _RECORDS.validate_python([_nested({**absent, **row}) for row in rows])
        except (ValidationError, KeyError, TypeError) as error:
            raise DataError(f"{path} does not hold cpufit records: {_first(error)}") from error
    return records


def columns(paths: Iterable[Path], names: Sequence[str]) -> pa.Table:
    """Read these columns only, of all files; a dot names a part of a struct: 'host.fingerprint'.

    No record is built, so that a million rows take seconds. Raises DataError as `read` does.
    """
    return pa.concat_tables([_columns(path, names) for path in paths])


def request_of(path: Path) -> str:
    """Return the JSON the run was started with."""
    metadata = _read(path).schema.metadata or {}
    return str(metadata.get(_REQUEST_KEY, b""), "utf-8")


def newest(folder: Path) -> Path:
    """Return the latest run's file in a folder; raise DataError where there is none."""
    found = sorted(folder.glob("run-*.parquet"))
    if not found:
        raise DataError(f"no results in {folder}", "run `cpufit run` first, or name a file")
    return found[-1]


def _read(path: Path) -> pa.Table:
    with _opened(path) as file:
        _checked(path, file.schema_arrow)
        return file.read()


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; raise DataError of what is none."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"no file {path}", "check the path") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}",
            "it is truncated, corrupt or of another kind",
        ) from error


def _checked(path: Path, schema: pa.Schema) -> int:
    """Return the file's schema version; raise DataError where it is not one we can read."""
    found = _version_of(schema)
    if not found:
        raise DataError(f"{path} was not written by cpufit", "give a file of `cpufit run`")
    if found > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {found}, this cpufit reads up to {SCHEMA_VERSION}",
            "upgrade: pip install -U cpufit",
        )
    return found


def _columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Read columns of one file; those that came with a later version read as in `_SINCE`."""
    with _opened(path) as file:
        version = _checked(path, file.schema_arrow)
        leaves = [file.schema.column(index) for index in range(len(file.schema))]
        text = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        # Text that repeats a million times reads ten times as fast as a dictionary.
        with pq.ParquetFile(path, read_dictionary=text, metadata=file.metadata) as again:
            table = again.read(columns=list(names))
    absent: dict[str, Any] = {}
    for later, new in _SINCE.items():
        absent |= new if later > version else {}
    found = {}
    for name in names:
        top = name.partition(".")[0]
        if top in table.column_names:
            found[top] = table[top]
        elif top in absent:
            found[top] = pa.repeat(pa.scalar(absent[top], _type(name)), len(table))
        else:
            raise DataError(f"{path} does not hold cpufit records: it lacks {top}")
    return pa.table(found)


def _type(name: str) -> pa.DataType:
    """Return the type of a column, or of a struct of only the part that is named."""
    top, _, part = name.partition(".")
    whole = _SCHEMA.field(top).type
    return pa.struct([whole.field(part)]) if part else whole


def _version(table: pa.Table) -> int:
    """Return the file's schema version; 0 where it is none of ours."""
    return _version_of(table.schema)


def _version_of(schema: pa.Schema) -> int:
    return int((schema.metadata or {}).get(_VERSION_KEY, b"0"))


def _row(record: Record) -> dict[str, Any]:
    """Flatten the cell and the outcome into columns; artifact, memory and host stay structs."""
    nested = _RECORD.dump_python(record)  # many times as fast as dataclasses.asdict
    cell, outcome = nested.pop("cell"), nested.pop("outcome")
    for part in (nested["artifact"] or {}).get("inputs", ()):
        part["shape"] = [str(axis) for axis in part["shape"]]
    return {**nested, **cell, **outcome}


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    cell = {name: row.pop(name) for name in _CELL}
    outcome = {name: row.pop(name) for name in _OUTCOME}
    for part in (row["artifact"] or {}).get("inputs", ()):
        part["shape"] = [int(axis) if axis.isdigit() else axis for axis in part["shape"]]
    return {**row, "cell": cell, "outcome": outcome}


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return f"{'.'.join(str(p) for p in detail['loc'])}: {detail['msg']}"
    return f"{type(error).__name__}: {error}"
