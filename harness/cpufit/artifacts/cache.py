"""The content-addressed cache: an artifact is made once, in a folder that appears whole or not.

`storage` keeps the folders.
"""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
from dataclasses import asdict, fields, is_dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpufit import files
from cpufit.artifacts import storage
from cpufit.artifacts.routes import builder
from cpufit.artifacts.split import parts_of
from cpufit.errors import DataError, UnavailableError
from cpufit.schema import Artifact
from cpufit.units import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.artifacts.base import Builder, Built
    from cpufit.schema import Order


def find(order: Order, cache: Path) -> Artifact | None:
    """Return the cached artifact, noting that it is used; None where it must be made."""
    folder = storage.folder_of(cache, key_of(order))
    found = _whole(folder, order.real_file)
    if found is not None:
        storage.touch(folder)
    return found


def make(order: Order, cache: Path) -> Artifact:
    """Return the artifact, building it where the cache lacks it."""
    found = find(order, cache)
    if found is not None:
        return found
    try:
        return _make(order, cache)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            need = needed_bytes(order)
            raise DataError(
                f"the cache's disk is full: {order.model.name} needs {size(need)}",
                "free some space or name another folder with --cache",
            ) from error
        raise


def check_writable(cache: Path) -> None:
    """Raise DataError in words where nothing can be written below `cache`."""
    try:
        storage.private(cache / "artifacts")
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise DataError(
            f"cannot write to the cache {cache}: {error.strerror}",
            "name another folder with --cache",
        ) from error


def _whole(folder: Path, real_file: Path | None) -> Artifact | None:
    """Return the artifact of a folder, None where a file is missing or cut short.

    A card that leads elsewhere than into its folder, or to the very file that was asked for, is
    none of ours, and so is a folder that another user made.
    """
    found = storage.read_card(folder) if storage.is_own(folder) else None
    if found and not (Path(found.path) == real_file or _is_inside(found.path, folder)):
        return None
    try:
        return found if found and _tree_bytes(Path(found.path)) == found.size_bytes else None
    except OSError:  # no such file, perhaps since this very moment
        return None


def _is_inside(path: str, folder: Path) -> bool:
    return Path(path).resolve().is_relative_to(folder.resolve())


def _make(order: Order, cache: Path) -> Artifact:
    key = key_of(order)
    folder = storage.folder_of(cache, key)
    with storage.scratch(cache) as scratch:
        artifact = _describe(builder(order).build(order, scratch), key)
        moved = replace(artifact, path=_relocate(artifact.path, scratch, folder))
        (scratch / storage.CARD).write_text(json.dumps(asdict(moved), indent=1), encoding="utf-8")
        storage.publish(
            scratch, folder, cache, lambda there: _whole(there, order.real_file) is not None
        )
    return moved


def _describe(built: Built, key: str) -> Artifact:
    return Artifact(
        key=key,
        path=str(built.file),
        size_bytes=_tree_bytes(built.file),
        parameters=built.parameters,
        format=built.format,
        recipe=built.recipe,
        inputs=built.inputs,
        kv_bytes_per_token=built.kv_bytes_per_token,
        notes=built.notes,
    )


def _relocate(path: str, scratch: Path, folder: Path) -> str:
    inside = Path(path).is_relative_to(scratch)
    return str(folder / Path(path).relative_to(scratch)) if inside else path


def _tree_bytes(file: Path) -> int:
    """Return the size of the model with the weights that lie beside its file."""
    return sum(part.stat().st_size for part in _parts(file))


def _parts(file: Path) -> list[Path]:
    """Return the file and, by the habit of its format, those beside it with its weights."""
    found = list(parts_of(file))
    for part in (file, file.with_name("sense" + file.suffix)):
        found += [part, part.with_suffix(".bin")]
        found += [part.with_name(part.name + ending) for ending in (".data", "_data")]
    return [file, *(part for part in found if part != file and part.is_file())]


def needed_bytes(order: Order) -> int:
    """Return about what making the artifact takes on disk, with what is removed again."""
    made = builder(order)
    return made.estimate_bytes(order) + made.scratch_bytes(order)


def key_of(order: Order) -> str:
    """Return the artifact's content address: it changes with anything that changes the bytes."""
    module = builder(order)
    parts = {
        "model": _card(order.model),
        "precision": order.precision,
        "weights": order.weights,
        "builder": [module.NAME, _version_of(module, order)],
        "packages": {name: _version(name) for name in module.packages(order)},
        "file": stamp(order.real_file) if order.real_file else [],
    }
    # The runtime is left out: two runtimes that take the same file share it.
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{files.name_of(order.model.name)}-{order.precision}-{digest[:16]}"


def _version_of(module: Builder, order: Order) -> int:
    """Return the builder's version, or this artifact's where the builder tells them apart."""
    told: Callable[[Order], int] = getattr(module, "version_of", lambda _: module.VERSION)
    return told(order)


def _card(part: Any) -> Any:
    """Return a card's fields; one that came later counts only where it is set.

    So a new field of a card changes no key of those that do without it.
    """
    if isinstance(part, tuple):
        return [_card(each) for each in part]
    if not is_dataclass(part):
        return part
    return {
        field.name: _card(getattr(part, field.name))
        for field in fields(part)
        if not (field.metadata.get("later") and getattr(part, field.name) == field.default)
    }


def stamp(file: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Say which very file it is, with what lies beside it, without reading it.

    Raises DataError where it is gone.
    """
    try:
        stats = [(part, part.stat()) for part in _parts(file)]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    return tuple((str(p.resolve()), s.st_size, s.st_mtime_ns, s.st_ino) for p, s in stats)


def check_same(artifact: Artifact, before: tuple[tuple[str, int, int, int], ...]) -> None:
    """Raise DataError where the artifact's file is not the very one any more."""
    if stamp(Path(artifact.path)) != before:
        raise replaced(Path(artifact.path).name)


def replaced(name: str) -> DataError:
    """Return what ends a cell whose model file was replaced meanwhile."""
    return DataError(
        f"{name} was replaced while it was measured", "measure it again once it is whole"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise UnavailableError(f"{package} is not installed", f"pip install {package}") from None
