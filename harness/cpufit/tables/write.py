"""A table as Markdown, reStructuredText, HTML, LaTeX, CSV or JSON: always the same bytes."""

from __future__ import annotations

import csv
import io
import json
import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from markupsafe import escape

from cpufit import plain
from cpufit.tables.caption import REAL, SAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cpufit.tables.figures import Entry
    from cpufit.tables.table import Table

_remembered = lru_cache(maxsize=100_000)  # figures of a long table repeat
_md = _remembered(partial(plain.markdown, most=plain.LONG))
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "\u2013": "--",
}


def markdown(table: Table) -> str:
    """Write a table as GitHub knows it; the caption is a paragraph below."""
    marks = ["--"] * len(table.wish.rows) + ["--:"] * len(table.columns)
    lines = [
        [*map(_md, table.wish.rows), *(_md(" ".join(head)) for head in table.columns)],
        marks,
        *(
            [*map(_md, head), *(_shown(table, entry, _md, "**{}**") for entry in line)]
            for head, line in zip(table.rows, table.entries, strict=True)
        ),
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    words = _caption(table, _md, "**{}**")
    return f"{body}\n\n{words} Again: {plain.markdown_code(table.command, plain.LONG)}\n"


def rst(table: Table) -> str:
    """Write a `list-table` directive, the caption as its title."""
    words = _caption(table, _rst, "**{}**")
    head = [*map(_rst, table.wish.rows), *(_rst(" ".join(head)) for head in table.columns)]
    lines = [
        head,
        *(
            [*map(_rst, names), *(_shown(table, entry, _rst, "**{}**") for entry in line)]
            for names, line in zip(table.rows, table.entries, strict=True)
        ),
    ]
    rows = "\n".join("   * - " + "\n     - ".join(line) for line in lines)
    options = f"   :header-rows: 1\n   :stub-columns: {len(table.wish.rows)}"
    command = table.command.replace("`", "'")
    return f".. list-table:: {words} Again: ``{command}``\n{options}\n\n{rows}\n"


def html(table: Table) -> str:
    """Write a <table> with its caption."""
    words = _caption(table, _html, "<strong>{}</strong>")
    heads = "".join(
        f'<th scope="col">{_html(name)}</th>'
        for name in (*table.wish.rows, *(" ".join(head) for head in table.columns))
    )
    lines = [
        "<table>",
        f"<caption>{words} Again: <code>{escape(table.command)}</code></caption>",
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
        *(
            f"<tr>{_html_names(names)}{''.join(_html_cell(table, entry) for entry in line)}</tr>"
            for names, line in zip(table.rows, table.entries, strict=True)
        ),
        "</tbody>",
        "</table>",
    ]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """Write a `table` whose rules are those of the package booktabs."""
    heads = [*table.wish.rows, *(" ".join(head) for head in table.columns)]
    words = _caption(table, _latex, r"\textbf{{{}}}")
    rows = [
        [*map(_latex, names), *(_shown(table, entry, _latex, r"\textbf{{{}}}") for entry in line)]
        for names, line in zip(table.rows, table.entries, strict=True)
    ]
    lines = [
        r"\begin{table}  % needs \usepackage{booktabs}",
        rf"\caption{{{words} Again: \texttt{{{_latex(table.command)}}}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.wish.rows)}{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(map(_latex, heads)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(table: Table) -> str:
    """Write a line for each place, with bare numbers and where they come from."""
    known = table.provenance
    where = {
        "hosts": "; ".join(known["hosts"]),
        "recorded": " to ".join(dict.fromkeys(known["recorded"])),
        "versions": "; ".join(f"{name} {'/'.join(v)}" for name, v in known["versions"].items()),
        "command": table.command,
    }
    lines = [
        {name: plain.spreadsheet(value) for name, value in {**line, **where}.items()}
        for line in _lines(table)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_json(table: Table) -> str:
    """Write everything the table knows, with bare numbers."""
    whole = {
        "title": table.metric.title,
        "caption": " ".join(table.caption).replace("**", ""),
        "command": table.command,
        "provenance": table.provenance,
        "cells": list(_lines(table)),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": markdown,
    "rst": rst,
    "html": html,
    "latex": latex,
    "csv": comma_separated,
    "json": as_json,
}


def _lines(table: Table) -> Iterator[dict[str, object]]:
    for names, line in zip(table.rows, table.entries, strict=True):
        for head, entry in zip(table.columns, line, strict=True):
            place = dict(zip(table.wish.rows, names, strict=True))
            place |= zip(table.wish.columns, head, strict=True)
            metric = {"metric": table.metric.full_name, "unit": table.metric.unit}
            numbers = {"value": _rounded(entry.value), "half": _rounded(entry.half)}
            # An empty entry has no weights; where these are a row's or a column's, the place has.
            yield {**place, **metric, **entry._asdict(), **numbers, **place}


def _rounded(value: float | None) -> float | None:
    """Leave away the last digits, in which CPUs differ: numpy's logarithms are not the same."""
    return None if value is None else float(f"{value:.10g}")


def _caption(table: Table, write: Callable[[str], str], bold: str) -> str:
    """Return the sentences; of the parts between two stars every other one is bold."""
    parts = " ".join(table.caption).split("**")
    return "".join(bold.format(p) if i % 2 else _spaced(p, write) for i, p in enumerate(parts))


def _spaced(text: str, write: Callable[[str], str]) -> str:
    """Keep the spaces at both ends, which escaping takes away."""
    body = text.strip()
    before, after = text.startswith(" "), text.endswith(" ") and bool(body)
    return " " * before + write(body) + " " * after


def _shown(table: Table, entry: Entry, write: Callable[[str], str], bold: str) -> str:
    """Return a figure with its marks."""
    words = write(entry.words)
    words = bold.format(words) if entry.best else words
    if table.mixed and entry.weights == "real":
        words += f" {write(REAL)}"
    return f"{words} {write(SAME)}" if entry.same else words


def _html_names(names: Sequence[str]) -> str:
    return "".join(f'<th scope="row">{_html(name)}</th>' for name in names)


def _html_cell(table: Table, entry: Entry) -> str:
    return f"<td>{_shown(table, entry, _html, '<strong>{}</strong>')}</td>"


@_remembered
def _html(text: str) -> str:
    return str(escape(plain.line(text, plain.LONG)))


@_remembered
def _rst(text: str) -> str:
    """Escape what reStructuredText would read as markup."""
    return re.sub(r"[\\`*|]|_(?!\w)", r"\\\g<0>", " ".join(plain.line(text, plain.LONG).split()))


@_remembered
def _latex(text: str) -> str:
    return "".join(
        _LATEX.get(letter, letter) for letter in " ".join(plain.line(text, plain.LONG).split())
    )
