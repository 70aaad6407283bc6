"""What lies in the cache: who uses it, how much it is, and what goes when room is needed.

Folders of artifacts come and go by a single rename, and whoever renames one, or begins to use it,
holds the cache's lock for that moment. A user, and a maker of an unfinished folder, holds a lock on
a file in it for as long as it lives, so that the kernel says whether somebody still does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from cpufit.errors import DataError
from cpufit.schema import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CARD = "artifact.json"

_LOCK = ".lock"
_IN_USE = ".in-use"
_MAKING = ".making-"
_GONE = ".gone-"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One artifact of the cache, whole or not."""

    folder: Path
    model: str
    precision: str
    format: str  # '' where it is damaged
    size_bytes: int  # on disk: nothing but a note for a model file that is measured where it lies
    used_s: float  # when it was last used, seconds since the epoch; 0 where unknown


def folder_of(root: Path, key: str) -> Path:
    """Return where the artifact of that key lies, or would."""
    return root / "artifacts" / key


@cache
def _adapter() -> TypeAdapter[Artifact]:
    return TypeAdapter(Artifact)  # built only where a card is read: not in a child that measures


def read_card(folder: Path) -> Artifact | None:
    """Return what lies in a folder, None where that cannot be said."""
    try:
        return _adapter().validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError):
        return None


def touch(folder: Path) -> None:
    """Note that an artifact is used now."""
    with suppress(OSError):
        os.utime(folder / CARD)


@contextmanager
def held(artifact: Artifact, root: Path) -> Iterator[None]:
    """Keep an artifact from being removed.

    Raises DataError where it was, since it was found. A model file of the user's own, outside of
    the cache, is nobody's to remove.
    """
    folder = folder_of(root, artifact.key)
    if not Path(artifact.path).is_relative_to(folder):
        yield
        return
    with _changing(root):
        try:
            mark = (folder / _IN_USE).open("a")
        except FileNotFoundError:
            raise DataError(
                f"{Path(artifact.path).name} was removed from the cache just now",
                "run again; it will be made anew",
            ) from None
        fcntl.flock(mark, fcntl.LOCK_SH)
    with mark:
        yield


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Give a folder to make an artifact in, and remove what is left of it whatever happens."""
    with _changing(root):
        path = Path(tempfile.mkdtemp(prefix=_MAKING, dir=root / "artifacts"))
        mark = (path / _IN_USE).open("w")
        fcntl.flock(mark, fcntl.LOCK_EX)
    with mark:
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def publish(made: Path, folder: Path, root: Path, is_whole: Callable[[Path], bool]) -> None:
    """Rename a finished folder into place, unless a whole one lies there by now.

    An equal one of a faster process stays, since somebody may use it already.
    """
    with _changing(root):
        if not is_whole(folder):
            _set_aside(folder)
            made.rename(folder)
    _finish_removals(root)


def remove(folder: Path, root: Path) -> bool:
    """Remove an artifact; return False, and leave it, where a process uses it."""
    with _changing(root):
        idle = _is_idle(folder)
        if idle:
            _set_aside(folder)
    _finish_removals(root)
    return idle


def entries(root: Path) -> list[Entry]:
    """Return what the cache holds, last used first."""
    folders = [f for f in _folders(root) if not f.name.startswith(".")]
    return sorted(map(_entry, folders), key=lambda entry: entry.used_s, reverse=True)


def total_bytes(root: Path) -> int:
    """Return what all artifacts take, unfinished ones included."""
    return sum(map(_tree_bytes, _folders(root)))


def sweep(root: Path) -> None:
    """Remove what dead processes left: half-made and half-removed artifacts."""
    for folder in _folders(root):
        if folder.name.startswith(_MAKING):
            remove(folder, root)
    _finish_removals(root)


def make_room(root: Path, need_bytes: int, limit_bytes: int | None, reserve_bytes: int) -> None:
    """Remove least recently used artifacts until `need_bytes` more can be written.

    The cache stays below its limit, if it has one, and `reserve_bytes` of the disk stay free.
    Nothing in use is removed, and nothing at all where that would not be enough.
    """
    sweep(root)
    excess = need_bytes + reserve_bytes - free_bytes(root)
    if limit_bytes is not None:
        excess = max(excess, total_bytes(root) + need_bytes - limit_bytes)
    with _changing(root):
        idle = [entry for entry in reversed(entries(root)) if _is_idle(entry.folder)]
    if sum(entry.size_bytes for entry in idle) < excess:
        return
    for entry in idle:
        if excess > 0 and remove(entry.folder, root):
            excess -= entry.size_bytes


def free_bytes(root: Path) -> int:
    """Return the bytes free on the cache's disk."""
    existing = next(p for p in (root, *root.parents) if p.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def _changing(root: Path) -> Iterator[None]:
    """Be the only process that renames or takes up folders; for a moment, not for slow work."""
    (root / "artifacts").mkdir(parents=True, exist_ok=True)
    with (root / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_idle(folder: Path) -> bool:
    """Return whether nobody uses or makes what is in a folder."""
    try:
        with (folder / _IN_USE).open("a") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # the folder itself has gone
        return True
    return True


def _set_aside(folder: Path) -> None:
    """Take a folder away at once; deleting its files may then take its time."""
    with suppress(FileNotFoundError):
        folder.rename(folder.with_name(f"{_GONE}{time.time_ns()}-{os.getpid()}"))


def _finish_removals(root: Path) -> None:
    for folder in _folders(root):
        if folder.name.startswith(_GONE):
            shutil.rmtree(folder, ignore_errors=True)


def _folders(root: Path) -> list[Path]:
    try:
        return [folder for folder in (root / "artifacts").iterdir() if folder.is_dir()]
    except OSError:
        return []


def _entry(folder: Path) -> Entry:
    card, used_s = read_card(folder), 0.0
    model, precision = card.key.rsplit("-", 2)[:2] if card else (folder.name, "")
    with suppress(OSError):
        used_s = (folder / CARD).stat().st_mtime
    return Entry(
        folder=folder,
        model=model,
        precision=precision,
        format=card.format if card else "",
        size_bytes=_tree_bytes(folder),
        used_s=used_s,
    )


def _tree_bytes(folder: Path) -> int:
    """Return the size of all files below; what goes away meanwhile does not count."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.lstat(Path(place) / name).st_size
    return found
