"""A comparison on the terminal and as a page in the report's style."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from cpufit.report import html
from cpufit.report.terminal import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from cpufit.tables.compare import Block, Comparison, Ratio

_STYLES = {"less": "green", "more": "red", "same": "", "unknown": "yellow"}


def as_text(found: Comparison) -> Group:
    """Return what the terminal shows."""
    first, *others = [side.letter for side in found.sides]
    parts: list[RenderableType] = [Text(f"{s.letter}: {s.words}") for s in found.sides]
    parts.append(
        Text(
            f"Ratios are over {first}, with their 95 % interval: below 1 takes less; "
            f"~ holds 1. {found.weights}"
        )
    )
    for block in found.blocks:
        parts += [Text(f"\n{block.family}", style="bold"), _lines(block, first, others)]
    for letter, cells in found.missing:
        if cells:
            parts.append(Text(f"\nMissing in {letter}:"))
            parts += [Text(f"  - {words}") for words in cells]
    parts += [Text(f"\n{found.by_chance}")] if found.by_chance else []
    return Group(*parts)


def as_html(found: Comparison) -> str:
    """Return the page; it asks nothing of the network."""
    return html.filled("compare.html.j2", found=found)


def _lines(block: Block, first: str, others: Sequence[str]) -> RenderableType:
    heads = ["cell", "figure", f">{first}"]
    for letter in others:
        heads += [f">{letter}", f">{letter}/{first}"]
    made = table("", heads, ())
    for line in block.lines:
        words = [Text(line.cell), Text(line.figure), Text("\n".join(line.values[0]))]
        for value, ratio in zip(line.values[1:], line.ratios, strict=True):
            words += [Text("\n".join(value)), _ratio(ratio)]
        made.add_row(*words)
    for figure, ratios in block.means:
        words = [Text(f"geometric mean of {_count(ratios)}"), Text(figure), Text()]
        for ratio in ratios:
            words += [Text(), _ratio(ratio)]
        made.add_row(*words, style="bold")
    return made


def _count(ratios: Sequence[Ratio | None]) -> str:
    counts = sorted({ratio.count for ratio in ratios if ratio})
    return f"{' or '.join(map(str, counts))} cell{'s' * (counts != [1])}"


def _ratio(ratio: Ratio | None) -> Text:
    return Text(ratio.words, style=_STYLES[ratio.kind]) if ratio else Text()
