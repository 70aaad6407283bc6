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

from cpufit.artifacts import storage
from cpufit.artifacts.base import Request
from cpufit.artifacts.real import locate
from cpufit.artifacts.routes import builder, route_of
from cpufit.errors import DataError, UnavailableError
from cpufit.schema import Artifact
from cpufit.units import size

if TYPE_CHECKING:
    from cpufit.artifacts.base import Builder, Built
    from cpufit.precisions import Precision
    from cpufit.schema import Model, Weights


def request_of(
    model: Model, precision: Precision, runtime: str, weights: Weights, cache: Path
) -> tuple[Request, Builder]:
    """Resolve the builder and, for real weights, the file; raise where either is missing."""
    route = route_of(model, precision, runtime, weights)
    real = None
    if weights == "real":
        real = Path(model.file) if model.file else locate(model, cache)
    stored = route.stored or precision
    request = Request(
        model=model, precision=stored, runtime=runtime, weights=weights, real_file=real
    )
    return request, builder(route.builder)


def find(request: Request, module: Builder, cache: Path) -> Artifact | None:
    """Return the cached artifact, noting that it is used; None where it must be made."""
    folder = storage.folder_of(cache, _key(request, module))
    found = _whole(folder)
    if found is not None:
        storage.touch(folder)
    return found


def make(request: Request, module: Builder, cache: Path) -> Artifact:
    """Return the artifact, building it where the cache lacks it."""
    found = find(request, module, cache)
    if found is not None:
        return found
    try:
        return _make(request, module, cache)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            need = module.estimate_bytes(request) + module.scratch_bytes(request)
            raise DataError(
                f"the cache's disk is full: {request.model.name} needs {size(need)}",
                "free some space or name another folder with --cache",
            ) from error
        raise


def check_writable(cache: Path) -> None:
    """Raise DataError in words where nothing can be written below `cache`."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise DataError(
            f"cannot write to the cache {cache}: {error.strerror}",
            "name another folder with --cache",
        ) from error


def _whole(folder: Path) -> Artifact | None:
    """Return the artifact of a folder, None where a file is missing or cut short."""
    found = storage.read_card(folder)
    try:
        return found if found and _tree_bytes(Path(found.path)) == found.size_bytes else None
    except OSError:  # no such file, perhaps since this very moment
        return None


def _make(request: Request, module: Builder, cache: Path) -> Artifact:
    key = _key(request, module)
    folder = storage.folder_of(cache, key)
    with storage.scratch(cache) as scratch:
        artifact = _describe(module.build(request, scratch), key)
        moved = replace(artifact, path=_relocate(artifact.path, scratch, folder))
        (scratch / storage.CARD).write_text(json.dumps(asdict(moved), indent=1), encoding="utf-8")
        storage.publish(scratch, folder, cache, lambda there: _whole(there) is not None)
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
    """Return the file and, by the habit of its format, a second one with the weights."""
    found = []
    for part in (file, file.with_name("sense" + file.suffix)):
        found += [part, part.with_suffix(".bin"), part.with_name(part.name + ".data")]
    return [file, *(part for part in found[1:] if part != file and part.is_file())]


def _key(request: Request, module: Builder) -> str:
    parts = {
        "model": _card(request.model),
        "precision": request.precision,
        "weights": request.weights,
        "builder": [module.NAME, module.VERSION],
        "packages": {name: _version(name) for name in module.packages(request)},
        "file": _stamp(request.real_file),
    }
    # The runtime is left out: two runtimes that take the same file share it.
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{request.model.name}-{request.precision}-{digest[:16]}"


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


def _stamp(file: Path | None) -> list[tuple[str, int, int]]:
    """Say which very file it is, without reading it."""
    stats = [(part, part.stat()) for part in (_parts(file) if file else ())]
    return [(str(part.resolve()), stat.st_size, stat.st_mtime_ns) for part, stat in stats]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise UnavailableError(f"{package} is not installed", f"pip install {package}") from None
