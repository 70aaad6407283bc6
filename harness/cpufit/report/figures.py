"""The figures of the report: one row for each model, its name above its data.

Names stand above, not beside, so that a figure is narrow enough for a phone at full text size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from cpufit import units
from cpufit.analysis.choice import newest, response
from cpufit.report import svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from cpufit.analysis import Metric, Row
    from cpufit.schema import Host, Tier

T = TypeVar("T")

MAX_ROWS = 24
_MAX_DRAWN = 160  # samples of one series; more only thicken the file
_STEP = 36  # units from one row to the next
_TOP = 24  # room for the labels of the threshold lines
_COLOURS = {"under": svg.UNDER, "over": svg.OVER, "undecided": svg.UNDECIDED, None: svg.ACCENT}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, its title, and how to read it in a sentence."""

    title: str
    caption: str
    svg: Markup


def drawings(name: str, table: Sequence[Row], host: Host, tiers: Sequence[Tier]) -> list[Drawing]:
    """Draw what the measured rows of one host allow; `name` is unique in the page."""
    measured = [row for row in newest(table) if row.ok]
    with svg.style():
        found = [
            _responses(f"{name}-response", measured),
            _memory(f"{name}-memory", measured, host, tiers),
            _speeds(f"{name}-speed", measured, tiers),
        ]
    return [drawing for drawing in found if drawing]


# ------------------------------------------------------------------------------------ response time
def _responses(name: str, measured: Sequence[Row]) -> Drawing | None:
    pairs = [(row, metric) for row in measured if (metric := response(row))]
    best = _best(pairs, lambda pair: pair[1].p50)
    if not best:
        return None
    best.sort(key=lambda pair: pair[1].p50)
    shown, left_out = best[-MAX_ROWS:], max(len(best) - MAX_ROWS, 0)
    figure, axes = svg.canvas(_TOP + _STEP * len(shown) + 40)
    axes.set_xscale("log")
    values = [_thin(metric.values) for _, metric in shown]
    limits = sorted({metric.threshold for _, metric in shown if metric.threshold})
    _log_limits(axes, [v for series in values for v in (series[0], series[-1])] + limits)
    for index, ((row, metric), drawn) in enumerate(zip(shown, values, strict=True)):
        _strip(axes, _TOP + _STEP * index, row, metric, drawn)
    for limit in limits:
        _line(axes, limit, f"{units.duration(limit)} threshold")
    _log_ticks(axes, lambda value: _round(units.duration(value)))
    axes.set_xlabel("response time, log scale")
    title = "How long one request takes"
    caption = (
        "Every stroke is a measured request, the dot is the median: strokes right of the line are"
        " over the threshold. Latency of one inference, or time to first token (TTFT) of a"
        " language model; each model on its fastest runtime and thread count."
        f"{_omitted(left_out, 'fastest')}"
    )
    return Drawing(title=title, caption=caption, svg=svg.inline(figure, name, title, caption))


def _strip(axes: Axes, top: float, row: Row, metric: Metric, drawn: Sequence[float]) -> None:
    colour = _COLOURS[metric.verdict]
    what = f"{metric.quantity.short_at(metric.size)} " if metric.quantity.sized else ""
    _name(axes, top, row, f"{what}{metric.figure_name} {units.duration(metric.figure)}", colour)
    # One path for all samples (broken by NaN) takes a tenth of the bytes of one marker each.
    gap = [np.nan] * len(drawn)
    x = np.column_stack([drawn, drawn, gap]).ravel()
    y = np.tile([top + 17.0, top + 28.0, np.nan], len(drawn))
    axes.plot(x, y, color=colour, linewidth=0.9, alpha=0.55)
    axes.plot([metric.p50], [top + 22.5], "o", color=svg.INK, markersize=4.5)


def _thin(values: Sequence[float]) -> list[float]:
    """Return the sorted samples, or evenly spaced ranks of them with both extremes."""
    ordered = np.sort(np.asarray(values))
    if len(ordered) > _MAX_DRAWN:
        ordered = ordered[np.linspace(0, len(ordered) - 1, _MAX_DRAWN).round().astype(int)]
    return [float(value) for value in ordered]


# ------------------------------------------------------------------------------------------- memory
def _memory(
    name: str, measured: Sequence[Row], host: Host, tiers: Sequence[Tier]
) -> Drawing | None:
    pairs = [(row, m.peak_bytes) for row in measured if (m := row.memory)]
    best = _best(pairs, lambda pair: -pair[1])  # the scenario that takes most
    if not best:
        return None
    best.sort(key=lambda pair: pair[1])
    shown, left_out = best[-MAX_ROWS:], max(len(best) - MAX_ROWS, 0)
    figure, axes = svg.canvas(_TOP + _STEP * len(shown) + 40)
    limit = host.memory_limit_bytes
    shares = [tier.memory_share * limit for tier in tiers]
    baselines = [memory.baseline_bytes for row, _ in shown if (memory := row.memory)]
    axes.set_xscale("log")
    _log_limits(axes, [limit, *shares, *(peak for _, peak in shown), *baselines])
    for index, (row, peak) in enumerate(shown):
        _span(axes, _TOP + _STEP * index, row, peak)
    for share in sorted({*shares} - {limit}):
        _line(axes, share, "")
    _line(axes, limit, _limit_name(host))
    _log_ticks(axes, lambda value: _round(units.size(value)))
    axes.set_xlabel("resident memory at the peak, log scale")
    title = "Peak memory on this host"
    caption = (
        "The dot is the peak. The pale line left of it is mapped file pages, which the kernel may"
        " drop; the tick is the process before the model was loaded."
        f" {_limit_name(host)} is {units.size(limit)}{_shares(tiers)}."
        f"{_omitted(left_out, 'smallest')}"
    )
    return Drawing(title=title, caption=caption, svg=svg.inline(figure, name, title, caption))


def _limit_name(host: Host) -> str:
    return "RAM" if host.memory_limit_bytes >= host.ram_bytes else "memory limit"


def _shares(tiers: Sequence[Tier]) -> str:
    """Return what the tiers' lines mean, to follow the limit; '' where there are none."""
    shares = " or ".join(sorted({f"{tier.memory_share:.0%}" for tier in tiers}))
    told = f"; a tier's models may take {shares} of it, the line left of it"
    return told if tiers else ""


def _span(axes: Axes, top: float, row: Row, peak: float) -> None:
    memory = row.memory
    assert memory is not None
    _name(axes, top, row, units.size(peak), svg.INK)
    axes.plot(
        [max(peak - memory.file_bytes, 1), peak], [top + 22.5] * 2, color=svg.FILL, linewidth=4
    )
    axes.plot([peak], [top + 22.5], "o", color=svg.ACCENT, markersize=7)
    if memory.baseline_bytes:
        base = memory.baseline_bytes
        axes.plot([base, base], [top + 15, top + 29], color=svg.INK, linewidth=1.2)


# -------------------------------------------------------------------------------------------- speed
def _speeds(name: str, measured: Sequence[Row], tiers: Sequence[Tier]) -> Drawing | None:
    pairs = [(row, _tokens(row)) for row in measured if row.metric("tpot")]
    best = _best(pairs, lambda pair: -pair[1]["decode"])
    if not best:
        return None
    best.sort(key=lambda pair: -pair[1]["decode"])
    shown, left_out = best[:MAX_ROWS], max(len(best) - MAX_ROWS, 0)
    figure, axes = svg.canvas(_TOP + _STEP * len(shown) + 40)
    axes.set_xscale("log")
    floors = sorted({tier.min_tokens_per_s for tier in tiers})
    _log_limits(axes, [v for _, rates in shown for v in rates.values()] + floors)
    for index, (row, rates) in enumerate(shown):
        _dots(axes, _TOP + _STEP * index, row, rates)
    for floor in floors:
        _line(axes, floor, f"tier floor {floor:g}")
    _log_ticks(axes, lambda value: f"{value:,.10g}")
    axes.set_xlabel("tokens per second, log scale")
    title = "How fast language models run"
    caption = (
        "Filled dot: tokens written per second, one stream. Ring: prompt tokens read per second,"
        " at the longest measured prompt. Each model on its fastest runtime and thread count"
        f"{'; the line is what a tier asks of writing' * bool(floors)}."
        f"{_omitted(left_out, 'slowest')}"
    )
    return Drawing(title=title, caption=caption, svg=svg.inline(figure, name, title, caption))


def _tokens(row: Row) -> dict[str, float]:
    """Return tokens per second, written and (where a prompt was timed) read."""
    written = row.metric("tpot")
    assert written is not None
    prompts = [metric for metric in row.metrics if metric.name == "ttft" and metric.rate]
    rates = {"decode": written.rate}
    if prompts:
        longest = max(prompts, key=lambda metric: metric.size)
        rates["prefill"] = longest.rate
    return rates


def _dots(axes: Axes, top: float, row: Row, rates: dict[str, float]) -> None:
    words = f"{units.significant(rates['decode'])} written"
    if "prefill" in rates:
        words += f", {units.significant(rates['prefill'])} read"
        ends = [rates["decode"], rates["prefill"]]
        axes.plot(ends, [top + 22.5] * 2, color=svg.FILL, linewidth=2)
        axes.plot(
            [ends[1]], [top + 22.5], "o", markersize=6.5, markeredgewidth=1.6,
            markerfacecolor=svg.FILL, markeredgecolor=svg.ACCENT,
        )  # fmt: skip
    axes.plot([rates["decode"]], [top + 22.5], "o", color=svg.ACCENT, markersize=7)
    _name(axes, top, row, words, svg.INK)


# ------------------------------------------------------------------------------------------- shared
def _best(
    pairs: Sequence[tuple[Row, T]], cost: Callable[[tuple[Row, T]], float]
) -> list[tuple[Row, T]]:
    """Keep, of each model, precision and kind of weights at batch 1, the pair of least cost."""
    kept: dict[tuple[str, str, str], tuple[Row, T]] = {}
    for pair in sorted(pairs, key=cost):
        cell = pair[0].record.cell
        if cell.batch == 1:
            kept.setdefault((cell.card, cell.precision, cell.weights), pair)
    return list(kept.values())


def _name(axes: Axes, top: float, row: Row, value: str, colour: str) -> None:
    """Write the row's name left and its value right, above its data."""
    cell = row.record.cell
    title = row.record.title or cell.card
    tail = f" {cell.precision.upper()}" + (", real weights" if cell.weights == "real" else "")
    room = 60 - len(value) - len(tail)
    label = (title if len(title) <= room else title[: room - 1] + "\u2026") + tail
    across = axes.get_yaxis_transform()
    axes.text(0, top + 8, label, ha="left", va="center", transform=across)
    axes.text(1, top + 8, value, ha="right", va="center", transform=across, color=colour)


def _line(axes: Axes, value: float, label: str) -> None:
    # Only beside the data: a line through the names would make them hard to read.
    tops = range(_TOP, int(axes.get_ylim()[0]), _STEP)
    ends = [*([(4.0, 16.0)] if label else []), *((top + 15.0, top + 30.0) for top in tops)]
    axes.vlines([value] * len(ends), *zip(*ends, strict=True), color=svg.INK, linewidth=1)
    low, high = axes.get_xlim()
    if axes.get_xscale() == "log":
        low, high, value_at = np.log(low), np.log(high), np.log(value)
    else:
        value_at = value
    right = (value_at - low) / (high - low) > 0.5
    gap = -4 if right else 4
    axes.annotate(
        label, (value, 10), xytext=(gap, 0), textcoords="offset points",
        ha="right" if right else "left", va="center", color=svg.MUTED, fontsize=9.5,
    )  # fmt: skip


def _log_limits(axes: Axes, values: Sequence[float]) -> None:
    positive = [value for value in values if value > 0]
    axes.set_xlim(min(positive) / 1.6, max(positive) * 1.6)


def _log_ticks(axes: Axes, words: Callable[[float], str]) -> None:
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _round(words: str) -> str:
    """Drop what a tick need not say: '1.00 ms' is '1 ms'."""
    return re.sub(r"\.0+ ", " ", words)


def _omitted(count: int, which: str) -> str:
    return f" The {count} {which} are left to the table." if count else ""
