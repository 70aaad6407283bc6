"""Names of models: 'yolov8n', 'yolov8n@prune30', 'yolov8n?size=320', 'yolov8n@prune30?size=320'."""

from __future__ import annotations

import re
from typing import NamedTuple

from cpufit.errors import UsageError

_SIZE = re.compile(r"size=([1-9][0-9]{0,4})")


class Name(NamedTuple):
    """The parts of a name, as a cell holds them."""

    model: str
    variant: str
    size: int  # pixels of a side; 0: as the card says


def split(name: str) -> Name:
    """Part a name; raise UsageError where what stands after '?' is not a size."""
    card, asked, option = name.partition("?")
    found = _SIZE.fullmatch(option)
    if asked and not found:
        raise UsageError(f"{name!r}: {option!r} is not a size", f"write {card}?size=320")
    model, _, variant = card.partition("@")
    return Name(model, variant, int(found[1]) if found else 0)


def is_plain(name: str) -> bool:
    """Return whether the name is a card's own, neither variant nor another size."""
    return split(name)[1:] == ("", 0)
