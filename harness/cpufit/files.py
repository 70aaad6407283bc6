"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write; at the end it is flushed to the disk and renamed over `path`.

    A link's target is replaced, not the link, and a file that was there keeps its mode. On any
    error the old file stays and nothing is left beside it. Raises what the disk raises.
    """
    path = path.resolve()
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
    path = path.resolve()
    for left in path.parent.iterdir():
        if left.name.startswith(_prefix(path)):
            left.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name}-"
