"""The report while a run goes on: drawn anew by a process of its own, between two that measure."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OFTEN_S = 60.0  # so old may the page be in the midst of a round
_MOST_SHARE = 0.1  # of the time may go into drawing
_FIRST_GUESS_S = 2.0


def _draw(results: Path) -> str:
    """Write the page, and return the sentence of it that counts; '' where that fails."""
    command = [sys.executable, "-P", "-m", "cpufit", "report", str(results)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout.partition("\n")[0] if ended.returncode == 0 else ""


class Drawing:
    """Keeps a run's page up to date; what it holds of the records ends with its process."""

    def __init__(
        self,
        results: Path,
        draw: Callable[[Path], str] = _draw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._results, self._draw, self._clock = results, draw, clock
        self._took_s, self._last = _FIRST_GUESS_S, clock()

    def __call__(self, round_over: bool) -> str:
        """Draw after a round, or after a minute, if it costs little; return what the page says."""
        since = self._clock() - self._last
        if since < max(0 if round_over else _OFTEN_S, self._took_s / _MOST_SHARE):
            return ""
        begun = self._clock()
        words = self._draw(self._results)
        self._last = self._clock()
        self._took_s = self._last - begun
        return words
