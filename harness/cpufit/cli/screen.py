"""A console on which text from files stays text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from cpufit import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType
    from rich.segment import Segment


class Screen(Console):
    """Prints what rich lays out; escapes that a text holds are shown, not obeyed."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Lay it out."""
        for segment in super().render(renderable, options):
            text = segment.text
            yield segment if segment.control else segment._replace(text=plain.terminal(text))
