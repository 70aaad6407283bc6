"""The Parquet file of a run: written whole or not at all, read as records or as columns.

Its metadata holds the schema version, what the run was asked to do, so that it can be resumed, and
the journal whose records are in it; every row holds its cell, its host and its raw samples, so that
files can be concatenated.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from cpufit.errors import DataError
from cpufit.files import check_file
from cpufit.schema import SCHEMA_VERSION
from cpufit.store import migrations, rows
from cpufit.store.sane import sane
from cpufit.units import MIB, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from cpufit.schema import Record

_VERSION_KEY = b"cpufit_schema_version"
_REQUEST_KEY = b"cpufit_request"
_JOURNAL_KEY = b"cpufit_journal"
_PIECE = 128  # records that are held at once
_MOST_LEAVES = 1000  # columns, of which cpufit writes 81
# What a file may come to in memory: so much, and so many times its own bytes. One that says more
# was made to fill the memory. Of what cpufit writes a value takes 3 bytes, text about its length.
_MOST_TEXT, _TEXT_A_BYTE = 64 * MIB, 16
_MOST_VALUES, _VALUES_A_BYTE = 2_000_000, 16
_MOST_ROWS = 50_000_000
_MOST_RECORDS, _BYTES_A_RECORD = 20_000, 50  # as objects, of 10 kB each; cpufit's are 600 in a file


def write(file: IO[bytes], tables: Iterable[pa.Table], request: str, journal: str) -> None:
    """Write tables as they come, each a row group; `journal` is the one whose records they hold."""
    metadata = {
        _VERSION_KEY: str(SCHEMA_VERSION).encode(),
        _REQUEST_KEY: request.encode(),
        _JOURNAL_KEY: journal.encode(),
    }
    schema = rows.SCHEMA.with_metadata(metadata)
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table)


def tables(records: Iterable[Record]) -> Iterator[pa.Table]:
    """Yield records as rows, few of them in memory."""
    left = iter(records)
    while piece := list(islice(left, _PIECE)):
        yield rows.table(piece)


class Parquet:
    """An open Parquet file of a run; DataError says that it is corrupt, foreign or too new."""

    def __init__(self, path: Path, source: pa.NativeFile) -> None:
        self._path, self._source = path, source
        self._file = pq.ParquetFile(source, page_checksum_verification=True)
        _check_bounds(path, self._file.metadata, source.size())
        metadata = self._file.schema_arrow.metadata or {}
        self._version = int(metadata.get(_VERSION_KEY, b"0"))
        if not self._version:
            raise DataError(f"{path} was not written by cpufit", "give a file of `cpufit run`")
        migrations.check(path, self._version)
        self.request = str(metadata.get(_REQUEST_KEY, b""), "utf-8")  # JSON
        self.journal = str(metadata.get(_JOURNAL_KEY, b""), "utf-8")  # whose records are here

    def records(self) -> Iterator[Record]:
        """Yield all records, few of them in memory."""
        absent = migrations.absent(self._version)
        if self._file.metadata.num_rows > _MOST_RECORDS + self._source.size() // _BYTES_A_RECORD:
            raise _absurd(self._path, f"{self._file.metadata.num_rows:,} records")
        with _readable(self._path):
            for index in range(self._file.num_row_groups):
                for piece in self._row_group(index).to_batches(_PIECE):
                    yield from map(sane, rows.records(piece, absent))

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows as they are written today, few of them in memory."""
        if not self._file.schema_arrow.equals(rows.SCHEMA):
            yield from tables(self.records())
            return
        with _readable(self._path):
            for piece in self._file.iter_batches(_PIECE):
                yield pa.Table.from_batches([piece])

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read these columns; those that came with a later version read as in `migrations`."""
        with _readable(self._path):
            groups = range(self._file.num_row_groups)
            tables = [self._row_group(index, names) for index in groups]
            table = pa.concat_tables(tables) if tables else self._coded.read(columns=list(names))
        absent, found = migrations.absent(self._version), {}
        for name in names:
            top = name.partition(".")[0]
            if top in table.column_names:
                found[top] = table[top]
            elif top in absent:
                value = absent[top]
                value = list(value.items()) if isinstance(value, dict) else value  # as Arrow's map
                same = pa.repeat(pa.scalar(value, rows.type_of(name)), len(table))
                found[top] = same.cast(_coded_type(same.type))  # to join files of several versions
            else:
                raise DataError(f"{self._path} does not hold cpufit records: it lacks {top}")
        return pa.table(found)

    def _row_group(self, index: int, names: Sequence[str] | None = None) -> pa.Table:
        """Read columns of a row group, text as dictionaries: where it repeats, ten times as fast.

        Row groups one by one, because pyarrow cannot join nested dictionaries of several.
        """
        return self._coded.read_row_group(index, columns=names and list(names))

    @cached_property
    def _coded(self) -> pq.ParquetFile:
        leaves = [self._file.schema.column(index) for index in range(len(self._file.schema))]
        text = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        return pq.ParquetFile(
            self._source,
            read_dictionary=text,
            metadata=self._file.metadata,
            page_checksum_verification=True,
        )


def _coded_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is read as, with text as dictionaries."""
    if pa.types.is_map(kind):
        return pa.map_(_coded_type(kind.key_type), kind.item_type)
    return pa.dictionary(pa.int32(), kind) if kind == pa.string() else kind


def _check_bounds(path: Path, said: pq.FileMetaData, size_bytes: int) -> None:
    """Raise DataError where a file says it holds far more than its bytes; nothing was read yet."""
    if said.num_columns > _MOST_LEAVES or said.num_rows > _MOST_ROWS:
        raise _absurd(path, f"{said.num_rows:,} rows of {said.num_columns:,} columns")
    listed, text_bytes = 0, 0  # values of lists; what stands once a row is dealt with as rows are
    for index in range(said.num_row_groups):
        group = said.row_group(index)
        for place in range(said.num_columns):
            column = group.column(place)
            listed += max(0, column.num_values - group.num_rows)
            if column.physical_type == "BYTE_ARRAY":
                text_bytes += column.total_uncompressed_size
    if listed > _MOST_VALUES + _VALUES_A_BYTE * size_bytes:
        raise _absurd(path, f"{listed:,} values")
    if text_bytes > _MOST_TEXT + _TEXT_A_BYTE * size_bytes:
        raise _absurd(path, f"{size(text_bytes)} of text")


def _absurd(path: Path, what: str) -> DataError:
    held = size(path.stat().st_size) if path.exists() else "a few bytes"
    return DataError(
        f"{path} says that its {held} hold {what}", "it is damaged or hostile: move it away"
    )


@contextmanager
def opened(path: Path, content: pa.Buffer | None = None) -> Iterator[Parquet]:
    """Open a run's Parquet file, or what would be in it; raise DataError of what is none."""
    if content is None:
        _check_file(path)
    with ExitStack() as stack:
        with _readable(path):
            file = pa.OSFile(str(path)) if content is None else pa.BufferReader(content)
            found = Parquet(path, stack.enter_context(file))
        yield found


def _check_file(path: Path) -> None:
    check_file(path, "a file of `cpufit run`")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty", "move it away, or name another file")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Put into words why a file cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"no file {path}", "check the path") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path} is not a readable Parquet file: {reason}",
            "it is truncated, corrupt or of another kind: move it away, or name another file",
        ) from error
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not hold cpufit records: {_first(error)}") from error


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail: Any = error.errors()[0]
        return f"{'.'.join(str(p) for p in detail['loc'])}: {detail['msg']}"
    return f"{type(error).__name__}: {error}"
