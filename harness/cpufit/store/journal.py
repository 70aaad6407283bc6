"""A run's journal: an append-only file of finished records, beside the Parquet file it ends in.

    b"cpufit journal 1\\n"  head  record  record  ...

Head and records are entries: the length of a payload, its CRC-32 (both 4 bytes, little-endian) and
the payload. The head says what the run was asked to do; every record is one JSON object. JSON won
because it is the cheapest to add and needs no schema beside it: of a record of 400 samples (7 kB)
it took 0.06 ms to write and 0.18 ms to read, where an Arrow batch took 0.66 ms and 0.4 ms, and
zlib three times the time of JSON for half the bytes of a file that lives as long as its run.

Who writes holds a lock on the file, so that nobody compacts a run that goes on. A last entry that
is not whole, because the writer was killed or the disk was full, ends the journal.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import tempfile
import uuid
import weakref
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from cpufit import files
from cpufit.errors import DataError
from cpufit.schema import SCHEMA_VERSION, Record
from cpufit.store import migrations
from cpufit.store.sane import sane

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIX = ".journal"
_MAGIC = b"cpufit journal 1\n"
_ENTRY = struct.Struct("<II")
_MOST_ENTRY = 1 << 28  # bytes; beyond, a hole of a sparse file would fill the memory
_RECORD = TypeAdapter(Record)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)  # such as on a FAT stick


@dataclass(frozen=True)
class _Head:
    """What a journal says of itself."""

    id: str
    schema_version: int
    request: str


_HEAD = TypeAdapter(_Head)


@dataclass
class Journal:
    """An open journal; it is closed and its lock given back when this object goes."""

    path: Path
    id: str  # what a Parquet file calls it that holds its records
    schema_version: int
    request: str  # JSON: what the run was asked to do
    _handle: int
    _start: int  # where the first record lies
    _end: int  # where the next one will

    def __post_init__(self) -> None:
        self._closing = weakref.finalize(self, os.close, self._handle)

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._closing()

    def lock(self) -> bool:
        """Take the run for this process; False where another has it, or has compacted it."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return self._there()

    def append(self, records: Sequence[Record]) -> None:
        """Add records; on the disk when this returns, or, where it raises OSError, none of them."""
        data = memoryview(b"".join(_entry(_payload(record)) for record in records))
        try:
            _write(self._handle, data, self._end)
        except OSError:
            with suppress(OSError):  # the next one goes over what is left of it
                os.ftruncate(self._handle, self._end)
            raise
        self._end += len(data)

    def records(self) -> Iterator[Record]:
        """Yield all records that are whole; raise DataError where one was not written by cpufit."""
        for payload, _ in self._entries():
            try:
                yield sane(_RECORD.validate_json(payload))
            except ValidationError as error:
                raise _damaged(self.path, "a record of it is none") from error

    def torn(self) -> bool:
        """Say whether a last record is not whole; without a lock it may be just being written."""
        end = self._start
        for _, end in self._entries():  # noqa: B007 - the last one's
            pass
        return end < os.fstat(self._handle).st_size

    def remove(self) -> None:
        """Delete the file, which its lock keeps for us until it is closed."""
        if self._there():
            self.path.unlink()
            files.sync(self.path.parent)

    def _there(self) -> bool:
        """Say whether the path still leads to this very file."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._handle))
        except FileNotFoundError:
            return False

    def _entries(self) -> Iterator[tuple[bytes, int]]:
        """Yield the payload of each whole record, and where it ends."""
        return _entries(self._handle, self._start)


def create(path: Path, request: str) -> Journal:
    """Start a journal and lock it; it appears with its head. Raises FileExistsError, OSError."""
    head = {"id": uuid.uuid4().hex, "schema_version": SCHEMA_VERSION, "request": request}
    data = _MAGIC + _entry(json.dumps(head).encode())
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    journal = Journal(path=path, **head, _handle=handle, _start=len(data), _end=len(data))  # type: ignore[arg-type]
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.fchmod(handle, 0o644)  # mkstemp makes files only their owner can read
        _write(handle, memoryview(data), 0)
        _name(Path(name), path)
    except BaseException:
        journal.close()
        raise
    finally:
        Path(name).unlink(missing_ok=True)
    files.sync(path.parent)
    return journal


def find(path: Path) -> Journal | None:
    """Open a journal to read, if there is one; raise DataError of what is none or too new."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "check its permissions") from error
    try:
        head, start = _head(handle, path)
    except OSError as error:  # a folder, or a disk that fails
        os.close(handle)
        raise DataError(f"cannot read {path}: {error.strerror}", "move it away") from error
    except BaseException:
        os.close(handle)
        raise
    return Journal(path=path, **head, _handle=handle, _start=start, _end=start)


def _head(handle: int, path: Path) -> tuple[dict[str, Any], int]:
    """Return what the journal says of itself, and where its records begin."""
    if os.pread(handle, len(_MAGIC), 0) != _MAGIC:
        raise DataError(
            f"{path} is not a journal of cpufit", "it is of another kind or version: move it away"
        )
    payload, start = next(_entries(handle, len(_MAGIC)), (b"", 0))
    if not payload:
        raise _damaged(path, "its head is not whole")
    try:
        head = _HEAD.validate_json(payload)
    except ValidationError as error:
        raise _damaged(path, "its head is none") from error
    migrations.check(path, head.schema_version)
    return asdict(head), start


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged: {why}", "move it away")


def _name(temporary: Path, path: Path) -> None:
    """Give the file its name, which nobody may have; a second one where the disk knows links."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        temporary.rename(path)


def _payload(record: Record) -> bytes:
    return pydantic_core.to_json(record, inf_nan_mode="constants")


def _entry(payload: bytes) -> bytes:
    return _ENTRY.pack(len(payload), zlib.crc32(payload)) + payload


def _write(handle: int, data: memoryview, at: int) -> None:
    """Write all bytes at a place and flush them to the disk."""
    done = 0
    while done < len(data):
        done += os.pwrite(handle, data[done:], at + done)
    os.fdatasync(handle)


def _entries(handle: int, start: int) -> Iterator[tuple[bytes, int]]:
    """Yield payloads, and where each ends, up to the first that is not whole."""
    with open(handle, "rb", closefd=False) as file:
        file.seek(start)
        while len(head := file.read(_ENTRY.size)) == _ENTRY.size:
            length, checksum = _ENTRY.unpack(head)
            # Zeros, as a file system may leave them for what it had no time to write, are no entry.
            if not 0 < length <= min(_MOST_ENTRY, os.fstat(handle).st_size - file.tell()):
                return
            payload = file.read(length)
            if zlib.crc32(payload) != checksum:
                return
            yield payload, file.tell()
