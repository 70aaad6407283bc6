"""What several commands take and print with."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cpufit.errors import UsageError
from cpufit.paths import cache_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token
    from rich.console import Console

_NARROWEST = 20  # columns; a narrower terminal breaks lines itself
_WHOLE, _NUMBER = re.compile(r"[+-]?[0-9]{1,40}"), re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{0,9})?")


def _whole(token: Token) -> int:
    if not _WHOLE.fullmatch(token.value):
        raise UsageError(
            f"{token.keyword} {token.value!r} is not a whole number", f"write {token.keyword} 12"
        )
    return int(token.value)


def _wholes(kind: object, tokens: Sequence[Token]) -> int | tuple[int, ...]:
    """Read whole numbers as they stand: cyclopts itself takes 1.5 for 2, and 0x10 for 16."""
    found = tuple(map(_whole, tokens))
    return found[0] if kind is int else found


def _number(kind: object, tokens: Sequence[Token]) -> float:  # noqa: ARG001 - cyclopts asks for it
    (token,) = tokens
    if not _NUMBER.fullmatch(token.value):
        raise UsageError(
            f"{token.keyword} {token.value!r} is not a number", f"write {token.keyword} 20"
        )
    return float(token.value)


_SOME = (1, None)  # words after an option, any number of them
Many = Parameter(consume_multiple=_SOME)
Whole = Annotated[int, Parameter(converter=_wholes)]
Wholes = Annotated[tuple[int, ...], Parameter(converter=_wholes, consume_multiple=_SOME)]
Number = Annotated[float, Parameter(converter=_number)]
Words = tuple[str, ...]


def cache_folder(given: Path | None) -> Path:
    """Return the folder of models that are built: what was asked for, or the user's own."""
    folder = Path(os.path.realpath(given)) if given else cache_root()
    refuse_no_text(str(folder))
    return folder


def refuse_no_text(text: str) -> None:
    """Raise UsageError for a path that is not UTF-8, which results files could not hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        if sys.getfilesystemencoding() != "utf-8":
            words = "cannot be read in this locale, whose letters are not UTF-8"
            raise UsageError(f"{text} {words}", "set PYTHONUTF8=1") from None
        remedy = "rename it, or name a link to it"
        raise UsageError(f"{text} is not text in UTF-8", remedy) from None


def console(width: int = 120) -> Console:
    """Return what prints to the terminal, or so many columns wide elsewhere: text as it is."""
    from cpufit.cli.screen import Screen

    found = Screen(
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else width,
    )
    found.width = max(found.width, _NARROWEST)
    return found


def results(given: Sequence[Path]) -> list[Path]:
    """Return the files that are meant, of a folder its newest run; a killed run's is made whole."""
    from cpufit import store

    return recovered(
        [
            path if path.is_file() or path.suffix == ".parquet" else store.newest(path)
            for path in given
        ]
    )


def recovered(paths: list[Path]) -> list[Path]:
    """Return the same files; what killed runs left of them is put together first."""
    from cpufit import store

    for line in store.recover(paths):
        sys.stderr.write(f"cpufit: {line}\n")
    return paths
