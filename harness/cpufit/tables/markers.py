"""Tables inside Markdown files, between two comments that say what stands there.

    <!-- cpufit:begin rows=model cols=runtime metric=ttft where=precision=int4 results=run-1.parquet -->
    <!-- cpufit:end -->

`sha256` is added when the table is written: of what stood between them then, so that an edit by
hand is seen. Markers inside a fenced block of code are left alone.
"""  # noqa: E501 - one marker is one line

from __future__ import annotations

import os
import re
import shlex
from codecs import BOM_UTF8
from dataclasses import dataclass
from glob import glob
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cpufit.errors import CpufitError, DataError, UsageError, unknown
from cpufit.files import check_file, save
from cpufit.paths import as_argument
from cpufit.tables import table, wish, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.tables.wish import Wish

State = Literal["as it should be", "stale", "edited by hand"]
_BEGIN = re.compile(r" {0,3}<!-- cpufit:begin(?P<options>(?: .*)?) -->\s*")
_END = re.compile(r" {0,3}<!-- cpufit:end -->\s*")
_LIKE = re.compile(r"\s*<!--\s*cpufit:")
# Also in lists and quotations; inline code is no fence.
_OPENED = re.compile(r"(?:[\s>]|[-*+]\s|\d+[.)]\s)*(`{3,}(?!.*`)|~{3,})")
_CLOSED = re.compile(r"[\s>]*(`{3,}|~{3,})\s*")
_OPTIONS = ("rows", "cols", "metric", "where", "results", "sha256")
_SHOWN = 16  # hexadecimal digits of the checksum


@dataclass(frozen=True, kw_only=True)
class Found:
    """One table of a file and what it should be."""

    path: Path
    line: int  # of the marker, counted from 1
    state: State
    begin: str  # the marker as it should be
    body: str
    span: tuple[int, int]  # the lines of marker and body, counted from 0

    @property
    def words(self) -> str:
        """Say where it is and what is wrong with it."""
        return f"{self.path}:{self.line}: {self.state}"


@dataclass(frozen=True, kw_only=True)
class _Marked:
    """A pair of markers as they stand in a file."""

    path: Path
    line: int
    options: dict[str, list[str]]
    span: tuple[int, int]
    body: str


def examine(paths: Sequence[Path], confidence: float) -> list[Found]:
    """Make the tables of all files anew and say what is wrong with those that stand there.

    Writes nothing. Raises UsageError or DataError, naming file and line, for markers that do not
    pair or makes no sense, and where no file has any.
    """
    once: dict[str, Path] = {}
    for path in paths:  # under the first of its names
        once.setdefault(os.path.realpath(path), path)
    marked = [one for path in once.values() for one in _marked(path)]
    if not marked:
        names = ", ".join(str(path) for path in paths)
        raise UsageError(f"no table in {names}", "mark its place: docs/tables.md says how")
    return [_examined(one, confidence) for one in marked]


def update(found: Sequence[Found]) -> None:
    """Write the files whose tables are not as they should be, each whole or not at all."""
    texts = {one.path: _read(one.path) for one in found if one.state != "as it should be"}
    for path, text in texts.items():
        lines = text.splitlines(keepends=True)
        newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
        mine = [one for one in found if one.path == path]
        for one in sorted(mine, key=lambda one: one.span, reverse=True):
            start, end = one.span
            lines[start:end] = [f"{one.begin}\n{one.body}".replace("\n", newline)]
        mark = BOM_UTF8 if path.read_bytes().startswith(BOM_UTF8) else b""
        save(mark + "".join(lines).encode(), path)


def _examined(one: _Marked, confidence: float) -> Found:
    try:
        wished = _wish(one.options)
        paths = _results(one, wished)
        command = f"cpufit table --update {shlex.quote(as_argument(Path(one.path.name)))}"
        body = "\n" + write.markdown(table.make(wished, paths, command, confidence)) + "\n"
    except CpufitError as error:
        raise type(error)(f"{one.path}:{one.line}: {error.problem}", error.remedy) from error
    said = one.options.get("sha256", [""])[-1]
    state: State = "as it should be"
    if said and said != _checksum(one.body):
        state = "edited by hand"
    elif body != one.body or not said:
        state = "stale"
    return Found(
        path=one.path,
        line=one.line,
        state=state,
        begin=_begin(wished, body),
        body=body,
        span=one.span,
    )


def _wish(options: dict[str, list[str]]) -> Wish:
    for name in options:
        if name not in _OPTIONS:
            raise unknown("option of a marker", name, _OPTIONS)
    for name, values in options.items():
        if len(values) > 1 and name not in ("where", "results"):
            raise UsageError(f"{name} is given {len(values)} times", "give it once")
    if "results" not in options:
        raise UsageError("the marker names no results", "add results=path/to/run.parquet")
    one = {name: values[0] for name, values in options.items()}
    return wish.of_words(
        options["results"],
        one.get("rows", "model"),
        one.get("cols", "runtime"),
        one.get("metric", ""),
        options.get("where", ()),
    )


def _results(one: _Marked, wished: Wish) -> list[Path]:
    """Return the files a marker names, relative to its own; '*' stands for any name."""
    found: list[Path] = []
    for name in wished.results:
        paths = sorted(glob(name, root_dir=one.path.parent, recursive=True))  # noqa: PTH207
        if not paths:
            raise DataError(f"no file {name}", "paths are relative to the Markdown file")
        found += [one.path.parent / path for path in paths]
    return found


def _begin(wished: Wish, body: str) -> str:
    """Return the marker that stands before this body, its options in a fixed order."""
    options = [
        ("rows", ",".join(wished.rows)),
        ("cols", ",".join(wished.columns)),
        ("metric", wished.metric),
        *(("where", f"{name}={','.join(values)}") for name, values in wished.where),
        *(("results", name) for name in wished.results),
        ("sha256", _checksum(body)),
    ]
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in options)
    return f"<!-- cpufit:begin {words} -->"


def _checksum(body: str) -> str:
    return sha256(body.encode()).hexdigest()[:_SHOWN]


def _marked(path: Path) -> list[_Marked]:
    """Return the pairs of markers of a file; raise UsageError where they do not pair."""
    found: list[_Marked] = []
    opened: tuple[int, str] | None = None
    lines = _read(path).splitlines(keepends=True)
    for index, line in _outside_code(lines):
        begin = _BEGIN.fullmatch(line)
        if begin and opened:
            raise UsageError(f"{path}:{opened[0] + 1}: no end", "add <!-- cpufit:end -->")
        if begin:
            opened = index, begin["options"]
        elif _END.fullmatch(line):
            if opened is None:
                raise UsageError(f"{path}:{index + 1}: an end without a begin", "take it away")
            found.append(_pair(path, opened, index, lines))
            opened = None
        elif not begin and _LIKE.match(line):
            raise UsageError(
                f"{path}:{index + 1}: no marker: {line.strip()}",
                "write <!-- cpufit:begin metric=latency results=run.parquet --> on one line",
            )
    if opened:
        raise UsageError(f"{path}:{opened[0] + 1}: no end", "add <!-- cpufit:end -->")
    return found


def _pair(path: Path, opened: tuple[int, str], end: int, lines: Sequence[str]) -> _Marked:
    start, text = opened
    options: dict[str, list[str]] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{path}:{start + 1}: {error}", "close the quotation") from error
    for word in words:
        name, _, value = word.partition("=")
        options.setdefault(name, []).append(value)
    return _Marked(
        path=path,
        line=start + 1,
        options=options,
        span=(start, end),
        body="".join(lines[start + 1 : end]).replace("\r\n", "\n"),
    )


def _outside_code(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Return the lines that are no code between fences, each with its index."""
    found, fence = [], ""
    for index, line in enumerate(lines):
        if fence:
            closed = _CLOSED.fullmatch(line)
            fence = "" if closed and closed[1].startswith(fence) else fence
        elif opened := _OPENED.match(line):
            fence = opened[1]
        else:
            found.append((index, line))
    return found


def _read(path: Path) -> str:
    check_file(path, "a Markdown file")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "allow it") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8", "name a Markdown file") from error
