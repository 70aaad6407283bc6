"""What comes out of files is text and stays text: cleaned and cut, by where it is written.

A model's names, a results file's strings and an engine's words about either may hold anything.
"""

from __future__ import annotations

LINE = 500  # letters of a text in a table or a sentence
_JOINERS = "\u200c\u200d"  # of scripts and emoji; they show nothing of their own


def line(text: str, most: int = LINE) -> str:
    """Return it as one line that any terminal shows as it is: no escapes, no other direction."""
    short = cut(text, most)
    return short if short.isprintable() else "".join(map(_shown, short))


def cut(text: str, most: int = LINE) -> str:
    """Return no more letters of it than that, the last one of a longer text an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS:
        return letter
    return " " if letter.isspace() else "?"
