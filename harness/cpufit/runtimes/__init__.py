"""The engines by name. Each is a folder here, whose `__init__` holds its `ENGINE`.

Packages of others may bring further ones: an entry point of the group `cpufit.engines` names a
package that is made like these folders.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from cpufit.errors import UnavailableError, unknown

if TYPE_CHECKING:
    from cpufit.runtimes.base import Runtime
    from cpufit.runtimes.engine import Engine

_FOLDERS = ("llama_cpp", "onnxruntime", "openvino", "fake")
_GROUP = "cpufit.engines"


def engines() -> tuple[Engine, ...]:
    """Return every engine, installed or not, in the order in which people are shown them."""
    return tuple(_engine(package) for package in _packages())


def names() -> tuple[str, ...]:
    """Return the names that cells know them by."""
    return tuple(engine.name for engine in engines())


def offered() -> tuple[str, ...]:
    """Return the names of those that measure; one that is invented is for tests."""
    return tuple(engine.name for engine in engines() if not engine.invented)


def engine_of(name: str) -> Engine:
    """Return the engine of that name; raise UsageError naming the nearest one."""
    return _engine(_package(name))


def reading(suffix: str) -> tuple[str, ...]:
    """Return the names of those that read files ending in `suffix`; empty where none does."""
    return tuple(engine.name for engine in engines() if suffix.lower() in engine.suffixes)


def suffixes() -> tuple[str, ...]:
    """Return the endings of model files that a user may bring; timings are for tests."""
    shown = (engine for engine in engines() if not engine.invented)
    return tuple(dict.fromkeys(suffix for engine in shown for suffix in engine.suffixes))


def load_runtime(name: str) -> Runtime:
    """Import an engine; raise UnavailableError with its install command where it is missing."""
    package = _package(name)
    try:
        module = import_module(f"{package}.runtime")
    except ImportError as error:
        remedy = _engine(package).install
        raise UnavailableError(f"{name} cannot be imported: {error}", remedy) from error
    return cast("Runtime", module.RUNTIME)


@cache
def _packages() -> tuple[str, ...]:
    ours = (f"{__name__}.{folder}" for folder in _FOLDERS)
    return (*ours, *(found.value for found in entry_points(group=_GROUP)))


def _package(name: str) -> str:
    found = next((package for package in _packages() if _engine(package).name == name), None)
    if found is None:
        raise unknown("runtime", name, offered())
    return found


def _engine(package: str) -> Engine:
    return cast("Engine", import_module(package).ENGINE)
