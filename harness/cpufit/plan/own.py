"""What to call model files of the user's own: by their names, or as much of their paths as differs.

A folder of a hub or of an export often holds nothing but a `model.onnx`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def told_apart(paths: Sequence[Path]) -> list[str]:
    """Return what people call the files: 'net.onnx', or 'old/net.onnx' and 'new/net.onnx'."""
    apart = called_apart(paths)
    return [called or path.name for called, path in zip(apart, paths, strict=True)]


def called_apart(paths: Sequence[Path]) -> list[str]:
    """Return '' for a file whose stem is its own, else the end of its path that nobody shares.

    That is the name with its suffix where only suffixes differ; the same file twice stays so.
    """
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        alike[path.stem.lower()].append(path)
    apart = {path: called for group in alike.values() for path, called in _apart(group).items()}
    return [apart[path] for path in paths]


def _apart(group: Sequence[Path]) -> dict[Path, str]:
    if len(group) == 1:
        return {group[0]: ""}
    parts = {path: Path(os.path.abspath(path)).parts[1:] for path in group}  # noqa: PTH100 - of the link
    for depth in range(1, max(map(len, parts.values())) + 1):
        ends = {path: "/".join(names[-depth:]) for path, names in parts.items()}
        if len({end.lower() for end in ends.values()}) == len(group):
            return ends
    return dict.fromkeys(group, "")
