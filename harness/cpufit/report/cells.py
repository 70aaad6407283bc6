"""The rows of the table of all cells, and what opens below each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpufit import units
from cpufit.analysis import words as sentences
from cpufit.analysis.choice import response, speed
from cpufit.precisions import precision
from cpufit.quantities import quantity
from cpufit.stats import percentiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.analysis import Metric, Row
    from cpufit.schema import Series

# Columns in the table's order: key in the data of report.js, heading, whether it sorts by number.
COLUMNS = (
    ("model", "Model", False),
    ("weights", "Weights", False),
    ("precision", "Precision", False),
    ("runtime", "Runtime", False),
    ("scenario", "Scenario", False),
    ("threads", "Threads", True),
    ("response", "Latency or TTFT", True),
    ("rate", "Rate or energy", True),
    ("samples", "n", True),
    ("memory", "Peak, + over baseline", True),
    ("size", "File", True),
    ("load", "Load", True),
    ("cosine", "Cosine to fp32", True),
    ("verdict", "Verdict", False),
)
NO_THRESHOLD, NOT_MEASURED = "no threshold", "not measured"
TOO_SMALL = units.TOO_SMALL


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One row in words: a tuple is the figure and the lines of small print below it."""

    row: Row
    model: str
    host: str  # '' where all rows are of one host
    format: str
    threads: str
    response: tuple[str, ...]
    rate: tuple[str, ...]
    samples: tuple[str, ...]
    memory: tuple[str, ...]
    size: str
    load: str
    cosine: tuple[str, ...]
    verdict: tuple[str, ...]
    keys: tuple[str | float | None, ...]  # what each column sorts by; None sorts last


def cell_row(row: Row, hosts: Mapping[str, str]) -> CellRow:
    """Put one record into words, measured or not; `hosts` is each fingerprint's name."""
    record, cell, outcome = row.record, row.record.cell, row.record.outcome
    main, rated, word = response(row), speed(row), verdict(row)
    peak = row.memory.peak_bytes if row.memory else None
    size = record.artifact.size_bytes if record.artifact else None
    model = record.title or cell.card
    counted = main or rated
    return CellRow(
        row=row,
        model=model,
        host=hosts[record.host.fingerprint] if len(hosts) > 1 else "",
        format=_format(row),
        threads=f"{cell.threads}, batch {cell.batch}" if cell.batch > 1 else str(cell.threads),
        response=_response_words(row, main),
        rate=_rate_words(row, rated),
        samples=(str(counted.n), _count_words(row)) if counted else ("",),
        memory=_memory_words(row),
        size=units.size(size) if size else "",
        load=units.duration(outcome.load_ns) if outcome.load_ns else "",
        cosine=_cosine_words(row),
        verdict=_all_verdict_words(row, word),
        keys=(
            model.lower(), cell.weights, cell.precision, cell.runtime, cell.scenario,
            cell.threads + cell.batch / 1e6, round(main.p50) if main else None,
            float(f"{rated.rate:.6g}") if rated and rated.rate else None,
            counted.n if counted else None, peak, size, outcome.load_ns or None,
            row.cosine, word,
        ),
    )  # fmt: skip


def verdict(row: Row) -> str:
    """Return the row's worst verdict, or why it has none."""
    if not row.ok:
        return NOT_MEASURED
    return row.verdict or NO_THRESHOLD


def samples(row: Row) -> str:
    """Return n: '142 in 4 processes', and what disturbed them."""
    if not row.ok or not row.metrics:
        return ""
    counted = response(row) or speed(row) or row.metrics[0]
    words = f"{counted.n} in {_count_words(row)}"
    if odd := sentences.unsteady(counted):
        words += f" ({odd})"
    set_aside = len(row.records) - len(row.used)
    if row.disturbed:
        return f"{words}, disturbed: {next(iter(row.disturbances.values()))[0]}"
    return f"{words}, {set_aside} disturbed set aside" if set_aside else words


def _count_words(row: Row) -> str:
    count = len(row.used)
    return units.counted(count, "process")


def plus_minus(metric: Metric) -> str:
    """Return half the 95 % interval: ' ±3%'; '' where there is none."""
    return units.plus_minus(metric.estimate.half_width)


def percentile_words(metric: Metric) -> str:
    """Return 'p90 7.42 ms', or that there are too few samples to say."""
    if metric.p90 is None:
        return f"p90: {TOO_SMALL}"
    return f"p90 {_value(metric, metric.p90)}"


def rate_words(metric: Metric) -> str:
    """Return 'decode 10.2 tokens/s' without the name: what one second brings."""
    if not metric.rate:
        return ""
    return f"{units.significant(metric.rate)} {metric.quantity.per_second}"


def _value(metric: Metric, value: float) -> str:
    return units.amount(value, metric.unit)


def _response_words(row: Row, main: Metric | None) -> tuple[str, ...]:
    if main is None:
        return ("",)
    value = units.duration(main.p50) + plus_minus(main)
    if main.name != "ttft":
        return (value, percentile_words(main))
    longer = [metric for metric in row.metrics if metric.name == "ttft" and metric is not main]
    return (
        value,
        f"{percentile_words(main)}, TTFT@{main.size}",
        *(
            f"p50 {units.duration(metric.p50)}{plus_minus(metric)}, TTFT@{metric.size}"
            for metric in longer
        ),
    )


def _rate_words(row: Row, speed: Metric | None) -> tuple[str, ...]:
    if speed is None:
        return ("",)
    if speed.unit == "j":
        what = "inference" if speed.name == "energy" else "token"
        return (_value(speed, speed.p50) + plus_minus(speed), f"per {what}")
    words, sure = [rate_words(speed)], plus_minus(speed)
    if speed.name == "tpot":
        words.append(f"TPOT {units.duration(speed.p50)}{sure}")
    elif speed.name == "frame":
        words.append(row.fps_words)
    elif speed.name != "latency":  # whose ± stands with the response
        words.append(f"{speed.label}{sure}")
    prefill = row.metric("prefill")
    if prefill and prefill is not speed:
        words.append(f"prefill@{prefill.size} {rate_words(prefill)}{plus_minus(prefill)}")
    return tuple(words)


def _memory_words(row: Row) -> tuple[str, ...]:
    memory = row.memory
    if memory is None:
        return ("",)
    return (
        units.size(memory.peak_bytes),
        f"+{units.size(memory.peak_bytes - memory.baseline_bytes)}",
    )


def _format(row: Row) -> str:
    """Return the exact number format where the precision's name does not say it all."""
    found = row.record.artifact.format if row.record.artifact else ""
    return "" if found.upper() == row.record.cell.precision.upper() else found


def _cosine_words(row: Row) -> tuple[str, ...]:
    if row.cosine is None:
        return ("",)
    lowest = precision(row.record.cell.precision).lowest_cosine
    words = units.cosine(row.cosine)
    return (words, f"below {lowest:g}") if row.inexact else (words,)


def _all_verdict_words(row: Row, word: str) -> tuple[str, ...]:
    ratio = (_worst_words(row),) if word in ("over", "undecided") else ()
    return (word, *ratio, *(("disturbed",) if row.disturbed and row.metrics else ()))


def _worst_words(row: Row) -> str:
    worst = verdict(row)
    found = [metric for metric in row.metrics if metric.verdict == worst]
    metric = max(found, key=lambda metric: metric.ratio)
    what = metric.quantity.short_at(metric.size)
    return f"{what}: {units.significant(metric.ratio, 2)}x"


# ------------------------------------------------------------------------------ what a row opens to
Section = tuple[str, list[list[str]]]  # a heading and a table: rows of cells


def island(rows: Sequence[CellRow], hosts: Mapping[str, str]) -> str:
    """Return the JSON that report.js sorts, filters and opens rows by.

    Sections are kept once: thousands of rows share their settings, versions and recipes.
    `hosts` is each fingerprint's name. Safe inside a <script> element.
    """
    pool: dict[str, int] = {}
    encode = json.JSONEncoder(ensure_ascii=False).encode  # one for all: `dumps` makes one each time
    data = [
        {
            "keys": row.keys,
            "family": row.row.record.family,
            "status": row.row.record.outcome.status,
            "host": hosts[row.row.record.host.fingerprint],
            "sections": [
                pool.setdefault(encode(section), len(pool)) for section in _sections(row.row)
            ],
        }
        for row in rows
    ]
    columns = [key for key, _, _ in COLUMNS]
    packed = json.dumps({"columns": columns, "rows": data}, separators=(",", ":"))
    return f'{packed[:-1]},"sections":[{",".join(pool)}]}}'.replace("<", "\\u003c")


def _sections(row: Row) -> list[Section]:
    record, outcome = row.record, row.record.outcome
    found: list[Section] = [
        ("Why it was not measured", _pairs({"Reason": outcome.reason, "Remedy": outcome.remedy})),
        ("Measured", _metric_table(row)),
        ("Memory", _memory_pairs(row)),
        ("Numerics", _numerics_pairs(row)),
        ("Run", _run_pairs(row)),
        ("Artifact", _artifact_pairs(row)),
        ("Settings", _pairs(outcome.settings)),
        ("Versions", _pairs(outcome.versions)),
        ("Processes", _process_table(row)),
        ("Hardware counters", _numbers(outcome.counters)),
        ("Noise of the first process", _numbers(outcome.noise)),
        ("Notes", [["", note] for note in notes(row)]),
        ("Cell", _pairs({"Id": record.cell.id})),
    ]
    return [section for section in found if section[1]]


def notes(row: Row) -> dict[str, None]:
    """Return what any of its processes remarked, each once."""
    return dict.fromkeys(note for record in row.records for note in record.outcome.notes)


def _pairs(values: Mapping[str, str]) -> list[list[str]]:
    return [[key, value] for key, value in values.items() if value]


def _numbers(values: Mapping[str, float]) -> list[list[str]]:
    return _pairs({key: units.significant(value) for key, value in values.items()})


def _process_table(row: Row) -> list[list[str]]:
    """Return one line of each process: its medians, and what disturbed it."""
    if len(row.records) < 2:
        return []
    lines = [
        [
            f"{record.repeat + 1}, {record.recorded_at[11:19]}",
            ", ".join(
                f"{quantity(s.name).label} {_series_median(s)}"
                for s in record.outcome.series
                if s.values
            )
            or record.outcome.status,
            "; ".join(row.disturbances.get(record.repeat, ())),
        ]
        for record in row.records
    ]
    return [["", "p50", "disturbed by"], *lines]


def _series_median(series: Series) -> str:
    return units.amount(percentiles.percentile(series.values, 0.5), series.unit)


def _metric_table(row: Row) -> list[list[str]]:
    head = [
        "",
        "p50",
        "95 % interval",
        "spread: in, between",
        "p90",
        "p95",
        "p99",
        "n",
        "rate",
        "verdict",
    ]
    lines = [
        [
            metric.label,
            _value(metric, metric.p50),
            _interval_words(metric),
            f"{metric.estimate.within:.1%}, {metric.estimate.between:.1%}",
            *_tail_words(metric),
            str(metric.n),
            rate_words(metric),
            _verdict_words(metric),
        ]
        for metric in row.metrics
    ]
    return [head, *lines] if lines else []


def _tail_words(metric: Metric) -> list[str]:
    tail = (metric.p90, metric.p95, metric.p99)
    return [TOO_SMALL if value is None else _value(metric, value) for value in tail]


def _interval_words(metric: Metric) -> str:
    if metric.estimate.interval is None:
        return "unknown: one process"
    low, high = (_value(metric, limit) for limit in metric.estimate.interval)
    return f"{low} to {high}"


def _verdict_words(metric: Metric) -> str:
    if metric.verdict is None:
        return NO_THRESHOLD
    limit = units.duration(metric.threshold)
    return f"{metric.verdict}: {units.significant(metric.ratio, 2)} x {limit}"


def _memory_pairs(row: Row) -> list[list[str]]:
    memory = row.memory
    if memory is None:
        return []
    return _pairs(
        {
            "Peak": units.size(memory.peak_bytes),
            "Baseline": units.size(memory.baseline_bytes),
            "Peak, private pages": units.size(memory.anon_bytes),
            "Peak, mapped file pages": units.size(memory.file_bytes),
            "KV cache": units.size(memory.kv_cache_bytes) if memory.kv_cache_bytes else "",
            "How": memory.method,
        }
    )


def _numerics_pairs(row: Row) -> list[list[str]]:
    found = row.record.outcome.numerics
    if found is None:
        return []
    return _pairs({"Cosine to fp32": units.cosine(found.cosine), "Of what": found.what})


def _run_pairs(row: Row) -> list[list[str]]:
    record, outcome = row.record, row.record.outcome
    return _pairs(
        {
            "Run": record.run_id,
            "Recorded": record.recorded_at,
            "Budget": record.budget,
            "Samples": samples(row),
            "Cell ended": row.records[-1].settled,
            "Sampling ended": outcome.stop,
            "Samples the budget asks of a process": ("reached" if outcome.valid else "not reached")
            if row.ok
            else "",
            "Load": units.duration(outcome.load_ns) if outcome.load_ns else "",
            "First inference": units.duration(outcome.first_ns) if outcome.first_ns else "",
        }
    )


def _artifact_pairs(row: Row) -> list[list[str]]:
    record = row.record
    artifact = record.artifact
    parameters = units.count(record.parameters) if record.parameters else ""
    macs = units.count(record.macs) if record.macs else ""
    work = {"Made from": record.parent, "Parameters": parameters, "MACs": macs}
    if artifact is None:
        return _pairs(work)
    kv = artifact.kv_bytes_per_token
    return _pairs(
        {
            **work,
            "Weights": record.cell.weights,
            "Format": artifact.format,
            "File": units.size(artifact.size_bytes),
            "Key": artifact.key,
            "Recipe": artifact.recipe,
            "KV cache per token": units.size(kv) if kv else "",
            "Notes": "; ".join(artifact.notes),
        }
    )
