"""What comes out of files is text and stays text: cleaned and cut, by where it is written.

A model's names, a results file's strings and an engine's words about either may hold anything.
"""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*<|\[])|(?<!\w)_|_(?!\w)|~(?=~)")
_FORMULA = ("=", "+", "-", "@")
_COMMANDS = re.compile(r"^(\s*):(?=:)|##(?=\[)", re.MULTILINE)  # of GitHub's runners
LINE, LONG = 500, 4000  # letters of a text in a sentence; of a caption, a command
_BYTES = range(0xDC80, 0xDD00)  # of a path that is no text
_JOINERS = "\u200c\u200d"  # of scripts and emoji; they show nothing of their own


def line(text: str, most: int = LINE) -> str:
    """Return it as one line that any terminal shows as it is: no escapes, no other direction."""
    short = cut(text, most)
    return short if short.isprintable() else "".join(map(_shown, short))


def lines(text: str, most: int = LINE) -> str:
    """Return several lines as plain ones: the end of a log, what a console is about to show."""
    if text.isprintable() and len(text) <= most:
        return text
    return "\n".join(line(part, most) for part in cut(text, most).split("\n"))


def terminal(text: str) -> str:
    """Return it as a console may print it: nothing that a terminal or a CI runner would obey."""
    return _COMMANDS.sub(lambda found: f"{found[0]} ", lines(text, len(text)))


def markdown(text: str, most: int = LINE) -> str:
    """Return it as a line of Markdown that shows it as it is, in a cell of a table too."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(line(text, most).split()))


def markdown_code(text: str, most: int = LINE) -> str:
    """Return it as code within a line of Markdown; a pipe would end a cell even there."""
    short = " ".join(line(text, most).split()).replace("|", r"\|")
    fence = "`" * (max(map(len, re.findall("`+", short)), default=0) + 1)
    space = " " if short[:1] == "`" or short[-1:] == "`" else ""
    return f"{fence}{space}{short}{space}{fence}"


def spreadsheet(value: object) -> object:
    """Return a value of a CSV file; a text that spreadsheets would compute begins with a quote."""
    if not isinstance(value, str):
        return value
    short = line(value, LONG)
    return f"'{short}" if short.lstrip().startswith(_FORMULA) else short


def command(text: str, most: int = LONG) -> str:
    """Return it as the message of a GitHub workflow command, which it cannot end."""
    escaped = lines(text, most).replace("%", "%25").replace("\r", "%0D")
    return escaped.replace("\n", "%0A")


def cut(text: str, most: int = LINE) -> str:
    """Return no more letters of it than that, the last one of a longer text an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def byte(letter: str) -> str:
    """Return a byte of a path that is no text as people write it, '\\xe9'; '' for any letter."""
    return f"\\x{ord(letter) - 0xDC00:02x}" if ord(letter) in _BYTES else ""


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS:
        return letter
    return byte(letter) or (" " if letter.isspace() else "?")
