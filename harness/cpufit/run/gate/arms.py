"""The two sides of a gate: which interpreter each runs in, and what is installed there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

import cpufit
from cpufit.artifacts import storage
from cpufit.errors import DataError, UsageError
from cpufit.run.child import HERE, Interpreter, environment
from cpufit.runtimes import engines

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINKS = "links"
_HELD = ExitStack()  # environments that are used stay until this process ends
_URL = re.compile(r"[a-z][a-z0-9+.]*://\S+")
_LINES = 3  # of an installer's complaint
# What decides speed in an arm, and whether cpufit's worker can run there at all.
_ASK = """
import json, sys
from importlib.metadata import distributions
import cpufit.measuring.worker
found = {}
for one in distributions():  # the first on the path is the one that is imported
    found.setdefault(one.metadata["Name"].lower(), one.version)
print(json.dumps(found))
"""
# Says how many libraries were dropped from the page cache; one in use stays there.
_EVICT = """
import os
from importlib.metadata import distributions
count = 0
for file in (f for one in distributions() for f in one.files or () if ".so" in f.name):
    try:
        opened = os.open(file.locate(), os.O_RDONLY)
    except OSError:
        continue
    os.fsync(opened)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(opened)
    count += 1
print(count)
"""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side."""

    name: str
    interpreter: Interpreter = field(default_factory=Interpreter)
    packages: Mapping[str, str]  # version by name, in lower case

    def differs(self, other: Arm) -> dict[str, tuple[str, str]]:
        """Return this arm's and the other's version of each package they have not in common."""
        names = sorted({*self.packages, *other.packages})
        pairs = {n: (self.packages.get(n, ""), other.packages.get(n, "")) for n in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def here() -> Arm:
    """Return the interpreter that runs this very program."""
    return _arm("installed here", HERE)


def other(against: str, root: Path) -> Arm:
    """Return the other arm: an interpreter, or an environment made for a requirement of pip's.

    Raises DataError with the installer's words, or where cpufit's worker does not run there.
    """
    python = _python(against)
    made = python or _environment(_wanted(against), root)
    return _arm(against, Interpreter(str(made), str(_path_for_others(root))))


def evict(arm: Arm) -> int:
    """Drop the arm's libraries from the page cache; return how many they are.

    How much of a library counts as a process's memory depends on how it came there: 31 MB of ONNX
    Runtime where processes read it, 39 MB of the same file where pip wrote it just now.
    """
    done = _asked(arm.interpreter, _EVICT)
    return int(done.stdout) if done.returncode == 0 else 0


def uses(arm: Arm, against: Arm, runtime: str) -> bool:
    """Whether a runtime may differ: packages do, and not only another runtime's own."""
    others = {e.packages[0].lower() for e in engines() if e.name != runtime and e.packages}
    return any(name not in others for name in arm.differs(against))


def _python(against: str) -> Path | None:
    """Return the interpreter a path means: a program, or the folder of an environment.

    What has no separator is a requirement, whatever lies in the current folder under its name.
    """
    if not _is_path(against):
        return None
    path = Path(against).expanduser()
    if path.is_dir() and not (path / "bin" / "python").exists():
        if (path / "pyproject.toml").exists() or (path / "setup.py").exists():
            return None  # sources, which pip installs
        raise UsageError(f"no bin/python in {path}", "name an environment or its interpreter")
    found = path / "bin" / "python" if path.is_dir() else path
    if found.is_file() and os.access(found, os.X_OK):
        return found.absolute()  # not resolved: an environment's is a link
    if not path.exists():
        raise UsageError(f"there is no {path}", "name an interpreter, a wheel or a requirement")
    return None


def _is_path(against: str) -> bool:
    return os.sep in against and "://" not in against


def _wanted(against: str) -> str:
    """Return what pip is to install: a path, a URL, or a requirement; never an option of pip's."""
    if _is_path(against):
        return str(Path(against).expanduser().absolute())
    try:
        return against if _URL.fullmatch(against) else str(Requirement(against))
    except InvalidRequirement:
        remedy = "write one as 'onnxruntime==1.30.0', or a path with a folder: ./name"
        raise UsageError(f"--against {against!r} is no requirement of pip's", remedy) from None


def _environment(requirement: str, root: Path) -> Path:
    """Return the interpreter of an environment with that requirement, made once.

    Everything else it finds where this program does, so that nothing but the requirement, and what
    it asks for, differs.
    """
    key = hashlib.sha256(
        json.dumps([_resolved(requirement), sys.prefix, sys.version, sorted(_shared())]).encode()
    ).hexdigest()[:16]
    folder = storage.private(root / storage.ENVIRONMENTS) / key
    python = folder / "bin" / "python"
    is_whole = storage.is_own(folder) and (folder / storage.MARK).exists()
    if not is_whole:
        shutil.rmtree(folder, ignore_errors=True)
    _HELD.enter_context(storage.used(storage.private(folder), root))
    if is_whole:
        storage.touch(folder)
        return python
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text("\n".join(_shared()) + "\n", encoding="utf-8")
    _install(requirement, python, folder)
    (folder / storage.MARK).write_text(requirement, encoding="utf-8")
    return python


def _install(requirement: str, python: Path, folder: Path) -> None:
    if find_spec("pip"):
        pip = [sys.executable, "-P", "-m", "pip", "--python", str(python), "install", "--quiet"]
    elif uv := shutil.which("uv"):
        pip = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        raise DataError("neither pip nor uv is here to make the other arm", "pip install uv")
    # Elsewhere than in the current folder, where a file may have the requirement's name.
    done = subprocess.run([*pip, "--", requirement], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line.upper()]
        words = " ".join((lines or done.stderr.splitlines() or ["it said nothing"])[:_LINES])
        raise DataError(f"{requirement!r} cannot be installed: {words}", "ask for what can be")


def _resolved(requirement: str) -> str:
    """Return the requirement, and of a file also when it was written: it may be built anew."""
    path = Path(requirement)
    return f"{requirement} {path.stat().st_mtime_ns}" if path.exists() else requirement


def _shared() -> list[str]:
    """Return where this program's packages lie."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def _path_for_others(root: Path) -> Path:
    """Return a folder in which nothing but this cpufit lies, so that both arms time alike."""
    source = Path(cpufit.__file__).parent
    key = hashlib.sha256(str(source).encode()).hexdigest()[:16]
    folder = storage.private(storage.private(root / _LINKS) / key)
    link = folder / "cpufit"
    if not (link.is_symlink() and link.readlink() == source):
        made = Path(tempfile.mktemp(dir=folder))  # noqa: S306 - replaced at once
        made.symlink_to(source)
        made.replace(link)
    return folder


@cache
def _arm(name: str, interpreter: Interpreter) -> Arm:
    try:
        done = _asked(interpreter, _ASK)
        if done.returncode == 0:
            return Arm(name=name, interpreter=interpreter, packages=json.loads(done.stdout))
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    except (OSError, ValueError):  # it cannot be started, or answers something else
        last = "it is no Python"
    raise DataError(
        f"cpufit's worker does not run in {interpreter.python}: {last}",
        "install what it lacks there: numpy, psutil, pydantic and the runtime",
    )


def _asked(interpreter: Interpreter, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [interpreter.python, "-P", "-c", script],
        capture_output=True,
        text=True,
        env=environment(interpreter),
    )
