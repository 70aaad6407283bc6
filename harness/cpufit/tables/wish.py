"""What a table is asked for, in the words of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpufit.errors import UsageError, misread, unknown
from cpufit.tables import metrics
from cpufit.tables.processes import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a table is asked for, in the words of the command line."""

    results: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    metric: str
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def options(self) -> list[str]:
        """The options that ask for it, a word each."""
        words = ["--rows", ",".join(self.rows), "--cols", ",".join(self.columns)]
        words += ["--metric", self.metric]
        for name, values in self.where:
            words += ["--where", f"{name}={','.join(values)}"]
        return words


def of_words(
    results: Iterable[str], rows: str, columns: str, metric: str, where: Iterable[str]
) -> Wish:
    """Read the words of the command line; raise UsageError where they make no sense."""
    asked: dict[str, tuple[str, ...]] = {}
    for text in where:
        name, sign, values = text.partition("=")
        if not sign:
            raise misread("--where", text, "asks for nothing", "precision=int4")
        if name not in FIELDS:
            raise unknown("field of --where", name, FIELDS)
        asked[name] = (*asked.get(name, ()), *values.split(","))
    if not metric:
        raise UsageError("no --metric", f"give one of {', '.join(metrics.NAMES)}")
    metrics.parse(metric)
    found = Wish(
        results=tuple(results),
        rows=_fields("--rows", rows),
        columns=_fields("--cols", columns),
        metric=metric,
        where=tuple(asked.items()),
    )
    twice = set(found.rows) & set(found.columns)
    if twice:
        raise UsageError(f"{min(twice)} is in --rows and in --cols", "name it once")
    return found


def _fields(option: str, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FIELDS:
            raise unknown(f"field of {option}", name, FIELDS)
    return names
