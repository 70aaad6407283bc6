"""Temporary folders that go even after a process that was killed: the next one sweeps them.

A folder is swept only where it holds our mark, and nobody the lock on it: what else has such a name
in the system's folder for temporary files is somebody's own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "cpufit-"
_MARK = ".cpufit-temporary"


@contextmanager
def folder() -> Iterator[Path]:
    """Give an empty folder of this process's own, and remove it whatever happens."""
    sweep()
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with _opened(path / "new", os.O_CREAT | os.O_EXCL) as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        (path / "new").rename(path / _MARK)  # locked before anybody who sweeps can see it
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def sweep() -> None:
    """Remove this user's folders whose processes were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # in use, somebody else's, or gone by now
            _sweep(path)


def _sweep(path: Path) -> None:
    if path.is_symlink() or path.stat().st_uid != os.geteuid():
        return
    with _opened(path / _MARK) as mark:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)


def _opened(path: Path, flags: int = 0) -> FileIO:
    return FileIO(os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600), "r+")
