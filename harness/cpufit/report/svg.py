"""Matplotlib figures as inline SVG whose text is text and whose colours come from the page."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

WIDTH = 380  # user units; about a phone's width, so that text keeps its size there
_FONT = "DejaVu Sans"  # ships with matplotlib: the same text widths on every machine

# Colours nobody would choose, each replaced by a variable of the style sheet: one drawing serves
# the light and the dark page.
INK, MUTED, RULE, FILL = "#010101", "#010102", "#010103", "#010104"
UNDER, OVER, UNDECIDED, ACCENT = "#010105", "#010106", "#010107", "#010108"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    FILL: "var(--fill)",
    UNDER: "var(--under)",
    OVER: "var(--over)",
    UNDECIDED: "var(--undecided)",
    ACCENT: "var(--accent)",
}
_STYLE: dict[Any, Any] = {  # matplotlib's key type is a Literal of every setting
    "svg.fonttype": "none",
    "font.family": _FONT,
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a model may be called $x$
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "axes.axisbelow": True,
    "path.simplify": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the page's style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def canvas(height: float, bottom: float = 40) -> tuple[Figure, Axes]:
    """Return a figure WIDTH x `height` units whose y axis counts units downward from the top."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
    axes = figure.add_axes((4 / WIDTH, bottom / height, 1 - 8 / WIDTH, 1 - bottom / height))
    axes.set(ylim=(height - bottom, 0), facecolor="none")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.yaxis.set_visible(False)
    axes.tick_params(axis="x", labelsize=9.5, length=3, color=RULE, which="both")
    axes.grid(visible=True, axis="x", color=RULE, linewidth=0.6)
    return figure, axes


def inline(figure: Figure, name: str, title: str, description: str) -> Markup:
    """Draw `figure` as an <svg> element; `name` keeps its ids apart from other figures'."""
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})  # type: ignore[no-untyped-call]
    text = drawn.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL
    )
    body = _keep_used_ids(re.sub(r"\s*\n\s*", " ", body))
    for sentinel, variable in _VARIABLES.items():
        body = body.replace(sentinel, variable)
    body = body.replace(f"'{_FONT}'", "var(--sans)")
    height = figure.get_figheight() * 72
    head = (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-labelledby="{name}-t {name}-d" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-t">{escape(title)}</title>'
        f'<desc id="{name}-d">{escape(description)}</desc>'
    )
    return Markup(head + body)  # noqa: S704 - matplotlib escapes every text it draws


def _keep_used_ids(body: str) -> str:
    """Drop the ids nothing refers to: 'figure_1' would occur once in every drawing of the page."""
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    return re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", body)
