"""What engines share about models that write: drawn ids, masks, and the sense beside a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cpufit.runtimes.base import LoadOptions
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_MASKED = np.finfo(np.float32).min


def drawn(random: Random, vocab: int, count: int) -> list[int]:
    """Return so many random ids: the same prompt again and again would flatter caches."""
    return [random.randrange(vocab) for _ in range(count)]


def check_alone(options: LoadOptions) -> None:
    """Raise UnsupportedError where several pictures are to be taken in at once."""
    if options.batch != 1:
        raise UnsupportedError(
            "models that write about a picture or sound take one at a time",
            "measure it with batch 1",
        )


def sense_file(artifact: Artifact) -> Path:
    """Return where the graph of the sense lies, if there is one: beside the artifact's file."""
    model = Path(artifact.path)
    return model.with_name(f"sense{model.suffix}")


def has_sense(artifact: Artifact) -> bool:
    """Return whether there is a sense beside the artifact's file."""
    return sense_file(artifact).is_file()


def tokens_of(ids: Sequence[int], before: int) -> dict[str, Array]:
    """Return a writer's inputs for tokens that come after `before` others, by name.

    Each attends to all before it and to itself.
    """
    count = len(ids)
    hidden = np.triu(np.full((count, count), _MASKED, np.float32), 1)
    mask = np.concatenate([np.zeros((count, before), np.float32), hidden], axis=1)
    return {
        "input_ids": np.array([ids], np.int64),
        "position_ids": np.arange(before, before + count)[None],
        "mask": np.ascontiguousarray(mask[None, None]),
    }
