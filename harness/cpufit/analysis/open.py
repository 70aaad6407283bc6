"""What a run that goes on, or was broken off, still lacks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cpufit.schema import Record


def so_far(runs: Iterable[tuple[Sequence[Record], Sequence[str]]]) -> str:
    """Return how far runs are, of each its records and the ids of all its cells; '' at the end."""
    wanted, settled = 0, 0
    for records, planned in runs:
        ended = {record.cell.id for record in records if record.settled}
        wanted += len(set(planned))
        settled += len(ended.intersection(planned))
    return f"So far: {settled} of {wanted} cells are done" if settled < wanted else ""
