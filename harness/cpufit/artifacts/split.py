"""GGUF files in several parts, as llama-gguf-split and hubs name them: x-00001-of-00003.gguf."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
_MOST = 999


def parts_of(file: Path) -> tuple[Path, ...]:
    """Return where all parts of a file's model lie, the first one first; a file that is no part
    is alone. They need not exist.
    """
    found = _PART.fullmatch(file.name)
    count = int(found[3]) if found else 1
    if not found or not 1 < count <= _MOST:
        return (file,)
    stem, ending = found[1], found[4]
    return tuple(
        file.with_name(f"{stem}-{number:05}-of-{count:05}{ending}")
        for number in range(1, count + 1)
    )
