"""Sizes as people write them: '20GB', '500 MB', '1.5TB'."""

from __future__ import annotations

import re

from cpufit.errors import UsageError

_FORM = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([kmgt]?)(i?)b", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str, option: str) -> int:
    """Return bytes; units are decimal, or binary with an 'i'. Raises UsageError naming `option`."""
    found = _FORM.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"{option} {text!r} is not a size", "give one such as 20GB or 500MB")
    base = 1024 if found[3] else 1000
    unit: int = base ** _POWERS[found[2].lower()]
    count = round(float(found[1]) * unit)
    if count < 1:
        raise UsageError(f"{option} {text!r} leaves no room", "give one such as 20GB or 500MB")
    return count
