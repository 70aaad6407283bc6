"""Can a record be stored, and shown? One that cannot is a record that says so.

An engine or a results file may claim anything; a single figure beyond 64 bits, or that is no
number, must not take a run's other records with it, and no text the page or the terminal.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from math import isfinite
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from cpufit import plain
from cpufit.errors import DataError
from cpufit.schema import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cpufit.schema import Record

_MOST = 2.0**62  # of any figure, in ns 146 years: sums and squares of many still have a value
_MOST_TEXT = 1000  # letters; what cpufit writes itself has 400 at most


def sane(record: Record) -> Record:
    """Return the record, every text a plain line; or what is left of one that cannot be stored.

    Raises DataError where not even its cell and its host can.
    """
    record = _plain(record)
    fault = _fault(record, "")
    if not fault:
        return record
    left = replace(
        record,
        outcome=Outcome(status="failed", reason=f"its record cannot be stored: {fault}"),
        artifact=None,
        parameters=0,
        macs=0,
        spent_s=0.0 if _fault(record.spent_s, "") else record.spent_s,
    )
    if _fault(left, ""):
        raise DataError(f"a record cannot be kept: {fault}", "move its file away")
    return left


def _plain(value: Any) -> Any:
    """Return the value with every text in it a plain line; itself where that changes nothing."""
    if isinstance(value, str):
        return plain.line(value, _MOST_TEXT)
    if isinstance(value, tuple):
        parts = value if value and isinstance(value[0], float) else tuple(map(_plain, value))
        return value if _same(parts, value) else parts
    if isinstance(value, dict):
        pairs = {_plain(key): _plain(part) for key, part in value.items()}
        same = _same(pairs, value) and _same(pairs.values(), value.values())
        return value if same else pairs
    if not is_dataclass(value):
        return value
    held = ((field.name, getattr(value, field.name)) for field in fields(value))
    changed = {name: new for name, old in held if (new := _plain(old)) is not old}
    return replace(cast("Any", value), **changed) if changed else value


def _same(new: Iterable[Any], old: Iterable[Any]) -> bool:
    return all(map(is_, new, old))


def _fault(value: Any, at: str) -> str:
    """Return which figure cannot be stored; '' where all can."""
    if value is None or isinstance(value, (bool, str)):
        return ""
    if isinstance(value, (int, float)):
        return "" if -_MOST <= value <= _MOST else f"{at} is {_figure(value)}"
    if isinstance(value, tuple):
        return "" if _are_figures(value) else _first((at, part) for part in value)
    if isinstance(value, dict):
        return _first(value.items())
    return _first((field.name, getattr(value, field.name)) for field in fields(value))


def _first(parts: Iterable[tuple[str, Any]]) -> str:
    return next((fault for at, part in parts if (fault := _fault(part, at))), "")


def _are_figures(values: tuple[Any, ...]) -> bool:
    """Whether all are floats that can be stored; asked at once, for there may be a million."""
    if not values or not isinstance(values[0], float):
        return False
    return isfinite(sum(values)) and min(values) >= -_MOST and max(values) <= _MOST


def _figure(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"about 2^{value.bit_length() - 1}"
