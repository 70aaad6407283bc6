"""What the files beside a model say of it, as exporters write them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

GENAI = "genai_config.json"
_CONFIG = "config.json"
_MOST_BYTES = 1 << 20
_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def context_beside(file: Path) -> int:
    """Return how long a text may get, by the settings beside the file; 0 where none says it.

    Hubs keep ONNX files in a folder below that of the settings.
    """
    for folder in (file.parent, file.parent.parent):
        model = _table(settings(folder / GENAI).get("model"))
        config = settings(folder / _CONFIG)
        parts = (config, _table(config.get("text_config")))
        found = [model.get("context_length"), *(part.get(n) for part in parts for n in _LENGTHS)]
        if sizes := [value for value in found if isinstance(value, int) and value > 0]:
            return sizes[0]
    return 0


def settings(file: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where there is none, or nothing of use."""
    with suppress(OSError, ValueError, RecursionError):
        if file.stat().st_size <= _MOST_BYTES:
            return _table(json.loads(file.read_bytes()))
    return {}


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
