"""The process that reads a model file: a pickled (file, model) on stdin, JSON on stdout.

It takes from its limits on what it may read, so that no file is worth more memory or time.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from cpufit import confined, plain
from cpufit.artifacts.asis import apart, kinds
from cpufit.artifacts.split import parts_of
from cpufit.errors import CpufitError, DataError, UnsupportedError
from cpufit.runtimes import suffixes
from cpufit.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.artifacts.base import About, Built
    from cpufit.schema import Input, Model

MEMORY_BYTES, _CPU_S = 192 * MIB, 4  # beside the interpreter and a map of the file
# What a file may take beyond that whose description is large: parsed, it is many times its text.
_LARGE_BYTES, _PARSED, _MOST_PARSED = 8 * MIB, 12, 1536 * MIB
_BYTES_PER_S, _MOST_CPU_S = 16 * MIB, 8
_INSPECTORS = {
    ".gguf": "gguf_file",
    ".onnx": "onnx_file",
    ".timings": "timings_file",
    ".xml": "ir_file",
}
_MOST = 2**62  # of any figure: results hold 64 bits
_MOST_INPUTS, _MOST_AXES, _MOST_NAME = 1000, 64, 1000
_MOST_NOTES = 100


class Inspector(Protocol):
    """A module of this package that reads what a kind of file says about itself."""

    def inspect(self, file: Path, model: Model) -> Built:
        """Describe the file; raise DataError where it is damaged, or of another kind."""

    def about(self, file: Path) -> About:
        """Return what decides the file's cells; raise as `inspect`."""


def main() -> None:
    """Say what the file says of itself."""
    confined.expendable()
    file, model = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
    with suppress(CpufitError):
        _inspector(file)  # its imports are not what the limits are for
    _confine(file)
    sys.stdout.write(json.dumps(answer(file, model), default=str))


def _confine(file: Path) -> None:
    stat = file.stat()
    held = min(stat.st_size, 512 * stat.st_blocks)  # what holes of a sparse file say costs nothing
    parsed = min(_PARSED * max(0, held - _LARGE_BYTES), _MOST_PARSED)
    seconds = min(_CPU_S + held // _BYTES_PER_S, _MOST_CPU_S)
    mapped = max(part.stat().st_size for part in parts_of(file) if part.is_file())
    confined.confine(MEMORY_BYTES + parsed + mapped, seconds, apart.ANSWER_BYTES)


def answer(file: Path, model: Model) -> dict[str, Any]:
    """Return what `apart.Seen` holds, ready for JSON; nothing that a file is makes it raise."""
    try:
        kinds.check(file)
        inspector = _inspector(file)
    except CpufitError as error:
        return dict.fromkeys(("about", "built"), _problem(error))
    return {
        "about": _or_problem(file, lambda: asdict(_sane(inspector.about(file), file))),
        "built": _or_problem(file, lambda: asdict(bounded(inspector.inspect(file, model)))),
    }


def _inspector(file: Path) -> Inspector:
    name = _INSPECTORS.get(file.suffix.lower())
    if name is None:
        raise DataError(
            f"cannot tell what kind of model {file.name} is",
            f"name it by its kind: {', '.join(suffixes())}",
        )
    return cast("Inspector", import_module(f"cpufit.artifacts.asis.{name}"))


def _or_problem(file: Path, ask: Callable[[], object]) -> object:
    try:
        return ask()
    except CpufitError as error:
        return _problem(error)
    except MemoryError:
        problem = f"{file.name} takes more memory to be described than any model of its size"
        return _problem(DataError(problem, apart.HOSTILE))
    except Exception as error:  # noqa: BLE001 - whatever a parser makes of bytes that are no model
        return _problem(DataError(f"{file.name} cannot be read: {_said(error)}", apart.HOSTILE))


def _said(error: Exception) -> str:
    """Return what a parser complains of, without Python's words where these are known."""
    found = re.search(r"invalid literal for int\(\) with base 10: (.*)", str(error))
    if found:
        return f"{found[1]} stands where a number belongs"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _problem(error: CpufitError) -> dict[str, str]:
    words = {"problem": plain.line(error.problem), "remedy": plain.line(error.remedy)}
    return {"kind": type(error).__name__, **words}


def _sane(about: About, file: Path) -> About:
    if not 0 <= about.context_tokens <= _MOST:
        raise DataError(f"{file.name} says it has an absurdly long context", apart.HOSTILE)
    return about


def bounded(built: Built) -> Built:
    """Return it with its words as plain lines; raise DataError where no model is like that."""
    name = built.file.name
    for what, count in (
        ("parameters", built.parameters),
        ("bytes of KV cache a token", built.kv_bytes_per_token),
    ):
        if not 0 <= count <= _MOST:
            raise DataError(f"{name} says it has absurdly many {what}", apart.HOSTILE)
    if len(built.inputs) > _MOST_INPUTS:
        raise UnsupportedError(
            f"{name} has {len(built.inputs):,} inputs, more than the {_MOST_INPUTS:,} that can be "
            "filled in",
            "export the model with fewer",
        )
    for one in built.inputs:
        _check_input(one, name)
    return replace(
        built,
        format=plain.line(built.format),
        recipe=plain.line(built.recipe),
        notes=_plain(built.notes),
        others=tuple((inputs, _plain(notes)) for inputs, notes in built.others),
    )


def _plain(notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(plain.line, notes[:_MOST_NOTES]))


def _check_input(one: Input, name: str) -> None:
    sizes = [axis for axis in one.shape if isinstance(axis, int)]
    if len(one.shape) > _MOST_AXES or any(not 0 <= axis <= _MOST for axis in sizes):
        raise UnsupportedError(
            f"input {plain.line(one.name, 80)} of {name} has an absurd shape", apart.HOSTILE
        )
    if len(one.name) > _MOST_NAME or not one.name.isprintable():
        raise UnsupportedError(
            f"{name} has an input called {plain.line(one.name, 80)!r}",
            "export the model with a name of up to 1,000 letters for it",
        )


if __name__ == "__main__":
    main()
