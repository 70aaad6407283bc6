"""What stands below a table: what its figures are, whose weights, where and with what measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit import units
from cpufit.tables.processes import entries, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from cpufit.tables.figures import Entry, Figures
    from cpufit.tables.processes import Cells, Field
    from cpufit.tables.wish import Wish

COLUMNS = ("versions",)
# What a figure depends on; as a rule a table's rows and columns name only some of it.
_CONDITIONS = ("scenario", "precision", "size", "inputs", "batch", "threads")
SAME, REAL = "~", "†"
_LONGEST = 6  # names of a list
_LONGEST_VERSION = 16  # letters


def facts(cells: Cells, found: Figures, wished: Wish, shown: NDArray[np.int64]) -> dict[str, Any]:
    """Return where the shown figures come from, sorted, for machines."""
    fields = cells.fields
    named = (*wished.rows, *wished.columns, *dict(wished.where))
    free = [name for name in _CONDITIONS if name not in named]
    dates = sorted(_present(cells.recorded_at, shown))
    return {
        "conditions": {n: sorted(_present(fields[n], shown)) for n in free},
        "weights": sorted(_present(fields["weights"], shown)),
        "hosts": sorted(_present(fields["host"], shown)),
        "versions": _versions(cells.table["versions"], cells.speaks[shown]),
        "recorded": [dates[0][:10], dates[-1][:10]],
        "figures": len(shown),
        "processes": _range(found.sure.processes[shown]),
        "samples": _range(found.n[shown]),
    }


def sentences(
    found: Figures, wished: Wish, known: Mapping[str, Any], table: Sequence[Sequence[Entry]]
) -> tuple[str, ...]:
    """Return the caption, a sentence each; '**' stands around what formats print bold."""
    every = [entry for row in table for entry in row]
    return tuple(
        filter(
            None,
            (
                _what(found, wished),
                _conditions(known["conditions"]),
                _marks(found, every),
                _weights(known["weights"]),
                _where(known),
                _counts(found, known),
            ),
        )
    )


def _what(found: Figures, wished: Wish) -> str:
    metric, sampled = found.metric, found.metric.kind in ("median", "rate", "load")
    title = metric.title
    if sampled and metric.share == 0.5:
        title += " ± half its 95 % interval"
    only = ", ".join(
        f"{name} {units.listed([value or 'none' for value in values], 'or')}"
        for name, values in wished.where
    )
    return f"{title}{f'; {only} only' if only else ''}."


def _conditions(found: Mapping[str, Sequence[Any]]) -> str:
    words = []
    for name, values in found.items():
        if (name, *values) in (("size", 0), ("inputs", ""), ("batch", 1)):
            continue  # what anybody expects
        few = len(values) <= _LONGEST
        usual = "made up" if name == "inputs" else "as in the card"
        listed = units.listed([str(value or usual) for value in values])
        words.append(f"{name} {listed if few else f'of {len(values)} kinds'}")
    text = "; ".join(words)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _marks(found: Figures, every: Sequence[Entry]) -> str:
    words = []
    if any(entry.best for entry in every):
        least = "most" if found.metric.more_is_better else "least"
        words.append(f"**Bold**: {least} of its row, and so a little flattered")
    if any(entry.same for entry in every):
        words.append(f"{SAME}: not significantly different from it")
    if any(entry.words == units.TOO_SMALL for entry in every):
        words.append(f"'{units.TOO_SMALL}': too few samples for this percentile")
    single = any(e.value is not None and e.processes == 1 for e in every)
    if single and not found.metric.exact:
        words.append("without ±: one process, which tells no difference")
    if not words:
        return ""
    text = "; ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def _weights(kinds: Sequence[str]) -> str:
    if len(kinds) > 1:
        return f"Synthetic weights, {REAL} real ones."
    return f"{kinds[0].capitalize()} weights."


def _where(known: Mapping[str, Any]) -> str:
    hosts = known["hosts"]
    words = units.listed(hosts) if len(hosts) <= _LONGEST else f"{len(hosts)} hosts"
    first, last = known["recorded"]
    when = f"on {first}" if first == last else f"from {first} to {last}"
    versions = ", ".join(
        f"{name} {'/'.join(map(_short, of))}" for name, of in known["versions"].items()
    )
    return f"Measured on {words}, {when}{f', with {versions}' if versions else ''}."


def _short(version: str) -> str:
    """Leave the build's name away: '2026.4.1-22982-e213a147257-releases/2026/4' is 2026.4.1."""
    return version.partition("-")[0] if len(version) > _LONGEST_VERSION else version


def _counts(found: Figures, known: Mapping[str, Any]) -> str:
    if found.metric.kind in ("file", "cosine"):
        return ""
    words = f"n: {_to(known['processes'], 'process', 'processes')}"
    if found.metric.kind in ("median", "rate"):
        words += f", {_to(known['samples'], 'sample', 'samples')}"
    return f"{words} a figure."


def _to(bounds: Sequence[int], one: str, many: str) -> str:
    low, high = bounds
    count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{count} {one if high == 1 else many}"


def _range(values: NDArray[np.int64]) -> list[int]:
    return [int(values.min()), int(values.max())]


def _present(found: Field, which: NDArray[np.int64]) -> list[Any]:
    return [found.values[code] for code in np.unique(found.codes[which]).tolist()]


def _versions(column: pa.ChunkedArray, which: NDArray[np.int64]) -> dict[str, list[str]]:
    """Return every version of every package that the processes measured with."""
    maps = column.combine_chunks()
    rows, inside = entries(maps)
    taken = np.zeros(len(maps), bool)
    taken[which] = True
    names, values = field(maps.keys[inside]), field(maps.items[inside])
    pairs = np.stack([names.codes, values.codes])[:, taken[rows]]
    found: dict[str, set[str]] = {}
    for name, value in np.unique(pairs, axis=1).T.tolist():
        found.setdefault(names.values[name], set()).add(values.values[value])
    return {name: sorted(found[name]) for name in sorted(found)}
