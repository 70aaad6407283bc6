"""The method held against itself: on recorded processes (`replay`) and on this host (`live`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One property of the method, as it came out."""

    name: str
    value: str  # in words, with its figures
    asked: str  # what it should be
    good: bool | None  # None: a figure without a limit
