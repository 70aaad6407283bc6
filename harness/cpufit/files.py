"""Files that appear whole or not at all; what is no file is written into."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cpufit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_NAME = 100  # bytes of one, beside which a suffix and more have room
_MOST_LINKS = 40  # as the kernel follows
_PREFIX_LETTERS = 50  # so that a temporary name fits where the whole one does


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write; at the end it is flushed to the disk and renamed over `path`.

    A link's target is replaced, not the link, and a file that was there keeps its mode. On any
    error the old file stays and nothing is left beside it. What is no regular file, such as
    /dev/null, a FIFO or /dev/stdout, is written into at the end. Raises what the disk raises.
    """
    if _is_file(path):
        with _renamed(_target(path)) as file:
            yield file
    else:
        with BytesIO() as memory:
            yield memory
            _fill(path, memory.getvalue())


def name_of(text: str) -> str:
    """Return it, short enough to be part of a file's name; a long one ends in a digest."""
    if len(whole := text.encode(errors="replace")) <= _MOST_NAME:
        return text
    digest = hashlib.sha256(whole).hexdigest()[:8]
    return f"{whole[: _MOST_NAME - 9].decode(errors='ignore')}-{digest}"


def save(data: bytes, path: Path) -> None:
    """Write `data` as `replacing` does; raise DataError where that is refused."""
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise _refused(path, error) from error


def append(data: bytes, path: Path) -> None:
    """Add `data` to what is there; raise DataError where that is refused."""
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise _refused(path, error) from error


def check_file(path: Path, wanted: str) -> None:
    """Raise DataError where `path` is no file whose end can be reached; `wanted` is what to name.

    A pipe would be waited for.
    """
    remedy = f"name {wanted}"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            raise DataError(f"{path} is a link that leads to no file", remedy) from error
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise DataError(f"no file {path}", "check the path") from error
        raise DataError(f"cannot read {path}: {error.strerror}", remedy) from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a folder", remedy)
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is a pipe or a device, and no file", remedy)


def try_out(path: Path) -> None:
    """Raise DataError where `path` surely cannot be written; leaves everything as it was."""
    try:
        if (handle := _descriptor(path)) is not None:
            if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise PermissionError(0, "it is open for reading only")
        elif path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        elif _is_file(path):
            with tempfile.TemporaryFile(dir=_target(path).parent):
                pass
        elif not os.access(path, os.W_OK):
            raise PermissionError(0, "permission denied")
    except OSError as error:
        raise _refused(path, error) from error


def unwritable(folder: Path) -> str:
    """Return why nothing can be written below a folder, which need not be there; '' where it can.

    Makes nothing that stays.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=existing):
            return ""
    except OSError as error:
        return f"cannot write to {folder}: {error.strerror or error}"


def _refused(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {path}: {error.strerror or error}", "name another path")


@contextmanager
def _renamed(path: Path) -> Iterator[IO[bytes]]:
    # mkstemp makes files only their owner can read
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _is_file(path: Path) -> bool:
    """Return whether `path` is to be replaced: a regular file, or nothing yet."""
    if _descriptor(path) is not None:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def _fill(path: Path, data: bytes) -> None:
    handle = _descriptor(path)
    if handle is None:
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC)
    else:  # as it is open already, so that what was printed before stays
        sys.stdout.flush()
        handle = os.dup(handle)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that /dev/stdout, /dev/fd/3 or a link to such means."""
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if folder == f"/proc/{os.getpid()}/fd" and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            break
        path = Path(folder) / path.readlink()
    return None


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))  # of links in a circle too


def sync(folder: Path) -> None:
    """Flush a folder's names to the disk, so that a file that appeared or went stays so."""
    with suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def clear(path: Path) -> None:
    """Remove what processes that were killed while replacing `path` left; none may be at it now."""
    path = _target(path)
    for left in path.parent.iterdir():
        if left.name.startswith(_prefix(path)):
            left.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name[:_PREFIX_LETTERS]}-"
