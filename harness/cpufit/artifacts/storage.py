"""What lies in the cache: who uses it, how much it is, and what goes when room is needed.

    artifacts/KEY     what was built
    environments/KEY  the other arms of gates
    real/PACKAGE      fetched weights

Folders in these come and go by a single rename, and whoever renames one, or begins to use it,
holds the cache's lock for that moment. A user, and a maker of an unfinished folder, holds a lock on
a file in it for as long as it lives, so that the kernel says whether somebody still does.

What is found here is run and reported, so all of it is this user's own: others may not even look.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from cpufit.errors import DataError
from cpufit.schema import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CARD = "artifact.json"
ENVIRONMENTS = "environments"
REAL = "real"
MARK = "complete"  # in a whole environment: what it was made for

_ARTIFACTS = "artifacts"
_KINDS = (_ARTIFACTS, ENVIRONMENTS, REAL)
_OWN_ONLY, _OF_OTHERS = 0o700, 0o022  # modes: no other user reads; bits that let others write
_LOCK = ".lock"
_IN_USE = ".in-use"
_MAKING = ".making-"
_GONE = ".gone-"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One folder of the cache, whole or not."""

    folder: Path
    model: str
    precision: str
    format: str  # '' where it is damaged; also 'environment' and 'fetched'
    size_bytes: int  # on disk: nothing but a note for a model file that is measured where it lies
    used_s: float  # when it was last used, seconds since the epoch; 0 where unknown


def folder_of(root: Path, key: str) -> Path:
    """Return where the artifact of that key lies, or would."""
    return root / _ARTIFACTS / key


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
        os.utime(_noted(folder))


@contextmanager
def held(artifact: Artifact, root: Path) -> Iterator[None]:
    """Keep an artifact from being removed.

    Raises DataError where it was, since it was found. A model file of the user's own, outside of
    the cache, is nobody's to remove.
    """
    place = _place(Path(artifact.path), root)
    with ExitStack() as stack:
        try:
            if place:
                stack.enter_context(used(place, root))
        except FileNotFoundError:
            raise DataError(
                f"{Path(artifact.path).name} was removed from the cache just now",
                "run again; it will be made anew",
            ) from None
        yield


@contextmanager
def used(folder: Path, root: Path) -> Iterator[None]:
    """Keep a folder of the cache from being removed; raise FileNotFoundError where it was."""
    with _changing(root):
        mark = _opened(folder / _IN_USE)
        fcntl.flock(mark, fcntl.LOCK_SH)
    with mark:
        yield


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Give a folder to make an artifact in, and remove what is left of it whatever happens."""
    with _changing(root):
        path = Path(tempfile.mkdtemp(prefix=_MAKING, dir=root / _ARTIFACTS))
        mark = _opened(path / _IN_USE)
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
    """Return what all of it takes, unfinished artifacts included."""
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
    idle.sort(key=lambda entry: entry.format == "fetched")  # last: only the network has them
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
    private(root / _ARTIFACTS)
    with _opened(root / _LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def private(folder: Path) -> Path:
    """Return a folder of the cache, made where it is missing, that is this user's alone.

    Raises DataError where another user made it: what is in it would be run and reported.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=_OWN_ONLY)
    if not is_own(folder):
        raise DataError(
            f"{folder} belongs to another user, who may have put anything into it",
            "name another folder with --cache",
        )
    if folder.stat().st_mode & _OF_OTHERS:
        folder.chmod(_OWN_ONLY)
    return folder


def is_own(folder: Path) -> bool:
    """Whether this user made a folder, and the link to it if it is one."""
    with suppress(OSError):
        return {folder.lstat().st_uid, folder.stat().st_uid} == {os.geteuid()}
    return False


def _opened(mark: Path) -> FileIO:
    """Open a file that only holds a lock; whatever a link of that name leads to stays untouched."""
    try:
        handle = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{mark} is a link, which cpufit never makes", f"rm {mark}") from None
        raise
    return FileIO(handle, "r+")


def _is_idle(folder: Path) -> bool:
    """Return whether nobody uses or makes what is in a folder."""
    try:
        with _opened(folder / _IN_USE) as mark:
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
    found: list[Path] = []
    for kind in _KINDS:
        with suppress(OSError):
            found += [folder for folder in (root / kind).iterdir() if folder.is_dir()]
    return found


def _place(path: Path, root: Path) -> Path | None:
    """Return the folder of the cache that comes and goes with a file in it."""
    for kind in _KINDS:
        if path.is_relative_to(root / kind):
            return root / kind / path.relative_to(root / kind).parts[0]
    return None


def _entry(folder: Path) -> Entry:
    used_s = 0.0
    model, precision, form = _described(folder)
    with suppress(OSError):
        used_s = _noted(folder).stat().st_mtime
    return Entry(
        folder=folder,
        model=model,
        precision=precision,
        format=form,
        size_bytes=_tree_bytes(folder),
        used_s=used_s,
    )


def _described(folder: Path) -> tuple[str, str, str]:
    """Return what a folder holds: the model or package, its precision, its format."""
    kind = folder.parent.name
    if kind == REAL:
        return folder.name, "", "fetched"
    if kind == ENVIRONMENTS:
        with suppress(OSError, UnicodeError):
            made_for = (folder / MARK).read_text(encoding="utf-8")
            return made_for or folder.name, "", "environment"
        return folder.name, "", ""
    card = read_card(folder)
    model, precision = card.key.rsplit("-", 2)[:2] if card else (folder.name, "")
    return model, precision, card.format if card else ""


def _noted(folder: Path) -> Path:
    """Return what of a folder says by its time when it was used."""
    return {ENVIRONMENTS: folder / MARK, REAL: folder}.get(folder.parent.name, folder / CARD)


def _tree_bytes(folder: Path) -> int:
    """Return the size of all files below; what goes away meanwhile does not count."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.lstat(Path(place) / name).st_size
    return found
