"""What the page says, as frozen dataclasses in words; the template only lays them out. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpufit import analysis, sizing, units
from cpufit.analysis import words
from cpufit.analysis.choice import newest, response
from cpufit.precisions import PRECISIONS, label, precision
from cpufit.report import cells, compressing, figures, matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cpufit.analysis import Flag, Row
    from cpufit.report.cells import CellRow
    from cpufit.report.compressing import Comparison
    from cpufit.report.figures import Drawing
    from cpufit.report.matrix import Matrix
    from cpufit.schema import Host, Levels, Record, Settings
    from cpufit.sizing import Recommendation, TierFit

_FILTERS = ("runtime", "precision", "family", "scenario", "weights", "status", "verdict")


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A model that answers in time here, or the one that comes nearest."""

    what: str  # 'Largest language model'
    who: str
    why: str


@dataclass(frozen=True, kw_only=True)
class HostBlock:
    """All findings about one host."""

    id: str
    host: Host
    facts: tuple[tuple[str, str], ...]
    recommendation: Recommendation
    reasons: dict[tuple[str, str], str]  # (card, precision) -> why it was not measured
    picks: tuple[Pick, ...]
    over: tuple[Flag, ...]
    undecided: tuple[Flag, ...]
    over_heading: str
    inexact: tuple[Row, ...]
    inexact_heading: str  # '' where nothing was checked
    drawings: tuple[Drawing, ...]
    matrices: tuple[Matrix, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def without_vnni(self) -> bool:
        """Whether this is an x86 CPU whose 8-bit products saturate."""
        host = self.host
        return host.arch == "x86_64" and not any("vnni" in flag for flag in host.flags)

    def rest(self) -> list[TierFit]:
        """Return the tiers that are neither recommended nor next, for completeness."""
        shown = (self.recommendation.met, self.recommendation.next)
        return [fit for fit in self.recommendation.tiers if fit not in shown]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run's provenance."""

    id: str
    dates: str
    budget: str
    cells: int
    processes: int
    host: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report."""

    title: str
    summary: str
    weights: str
    limits: tuple[tuple[str, str], ...]
    lowest: tuple[tuple[str, str], ...]  # precision, cosine to float32 it should keep
    hosts: tuple[HostBlock, ...]
    cells: tuple[CellRow, ...]
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    island: str
    runs: tuple[Run, ...]
    versions: tuple[tuple[str, str], ...]
    methods: tuple[str, ...]
    schema_versions: str
    suite: str  # TOML of a suite that measures the same cells
    command: str  # that runs it, saved as again.toml


def page(table: Sequence[Row], settings: Settings) -> Page:
    """Turn rows into everything the report shows; none is dropped, nor a record of theirs."""
    records = [record for row in table for record in row.records]
    groups = _by_host(table)
    names = analysis.host_names(
        {name: rows[-1].record.host.cpu_model for name, rows in groups.items()}
    )
    blocks = [
        _host_block(f"host-{index}", rows, settings)
        for index, rows in enumerate(groups.values(), 1)
    ]
    rows = [cells.cell_row(row, names) for row in table]
    return Page(
        title=_title(names),
        summary=_summary(table),
        weights=_weights(table),
        limits=tuple(_limits(settings.levels)),
        lowest=tuple(
            (label(p), f"{precision(p).lowest_cosine:g}") for p in PRECISIONS if p != "fp32"
        ),
        hosts=tuple(blocks),
        cells=tuple(rows),
        filters=_filters(table, names),
        island=cells.island(rows, names),
        runs=_runs(table, names),
        versions=_versions(table),
        methods=_distinct(r.outcome.memory.method for r in records if r.outcome.memory),
        schema_versions=", ".join(_distinct(str(record.schema_version) for record in records)),
        suite=suite(records),
        command=_command(records),
    )


def _limits(levels: Levels) -> Iterator[tuple[str, str]]:
    """Yield what one request may take, of the level that counts."""
    for limit, what in (
        ("latency", "latency of one inference"),
        ("ttft", "TTFT"),
        ("tpot", "TPOT"),
    ):
        for level in levels.of(limit)[:1]:
            yield what, units.duration(level.most_ns)


def _by_host(table: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in table:
        groups.setdefault(row.record.host.fingerprint, []).append(row)
    return groups


def _title(names: dict[str, str]) -> str:
    if not names:
        return "Sizing report: no records"
    if len(names) == 1:
        return f"Sizing report: {next(iter(names.values()))}"
    return f"Sizing report: {len(names)} hosts"


def _summary(table: Sequence[Row]) -> str:
    if not table:
        return "There is nothing to report: the results hold no records."
    dates = sorted(row.record.recorded_at[:10] for row in table)
    when = f"on {dates[0]}" if dates[0] == dates[-1] else f"from {dates[0]} to {dates[-1]}"
    measured = sum(row.ok for row in table)
    models = len({row.record.cell.card for row in table})
    missing = len(table) - measured
    words = f"{units.counted(len(table), 'cell')} of {units.counted(models, 'model')}, "
    words += f"recorded {when}: {measured} measured"
    return words + (f", {missing} not, each with its reason." if missing else ".")


def _weights(table: Sequence[Row]) -> str:
    real = sum(row.record.cell.weights == "real" for row in table)
    if real == len(table):
        return "All weights are real."
    claim = (
        "Synthetic weights: exact published shapes, seeded random values. Speed and memory are"
        " those of the real model; accuracy is not measured."
    )
    if real:
        return f"{claim} {real} of {units.counted(len(table), 'cell')} use real weights and say so."
    return claim


# --------------------------------------------------------------------------------------- one host
def _host_block(name: str, rows: Sequence[Row], settings: Settings) -> HostBlock:
    host = max(rows, key=lambda row: row.record.recorded_at).record.host
    flags = analysis.flags(rows)
    found = sizing.recommend(rows, host, settings)
    return HostBlock(
        id=name,
        host=host,
        facts=host_facts(host),
        recommendation=found,
        reasons=_reasons(rows),
        picks=tuple(picks(rows)),
        over=tuple(flag for flag in flags if flag.metric.verdict == "over"),
        undecided=tuple(flag for flag in flags if flag.metric.verdict == "undecided"),
        over_heading=_over_heading(rows),
        inexact=tuple(analysis.inexact(rows)),
        inexact_heading=_inexact_heading(rows),
        drawings=tuple(figures.drawings(name, rows, host, [fit.tier for fit in found.tiers])),
        # A table of one column compares nothing; the charts and the table of all cells show it.
        matrices=tuple(found for found in matrix.matrices(rows) if found.columns > 1),
        comparisons=compressing.comparisons(rows),
    )


def _reasons(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    return {
        (row.record.cell.card, row.record.cell.precision): (
            f"{row.record.outcome.status} on {row.record.cell.runtime}: {row.record.outcome.reason}"
        )
        for row in rows
        if not row.ok
    }


def _over_heading(rows: Sequence[Row]) -> str:
    judged = [metric for row in rows for metric in row.metrics if metric.verdict]
    over = sum(metric.verdict == "over" for metric in judged)
    return f"Over {words.limits(judged)}: {over:,} of {units.counted(len(judged), 'judged case')}"


def _inexact_heading(rows: Sequence[Row]) -> str:
    checked = {row.label for row in rows if row.cosine is not None}
    if not checked:
        return ""
    far = len(analysis.inexact(rows))
    return f"Outputs far from float32: {far:,} of {len(checked):,} checked"


def picks(rows: Sequence[Row]) -> list[Pick]:
    """Name what is interactive here: the largest and the fastest, of LLMs and of the rest."""
    timed = [row for row in newest(rows) if row.ok and response(row)]
    llms = [row for row in timed if row.record.family == "llm"]
    others = [row for row in timed if row.record.family != "llm"]
    both = (("language model", llms), ("other model", others))
    own = sizing.of_own_alone(rows)  # what it lacks, nobody asked for
    return [pick for kind, found in both if found or not own for pick in _pick(kind, found)]


def _pick(kind: str, rows: Sequence[Row]) -> list[Pick]:
    if not rows:
        return [Pick(what=f"Any {kind}", who="not measured", why="")]
    under = [row for row in rows if _interactive(row)]
    if not under:
        nearest = min(rows, key=_wait)
        why = f"nearest: {_speed_words(nearest)}, {_distance(nearest)}"
        return [Pick(what=f"No {kind} is surely under the threshold", who=nearest.label, why=why)]
    fastest = min(under, key=_wait)
    largest = max(under, key=lambda row: (row.record.parameters, row.record.macs, -_wait(row)))
    return [
        Pick(what=f"Largest {kind}", who=largest.label, why=_speed_words(largest)),
        Pick(what=f"Fastest {kind}", who=fastest.label, why=_speed_words(fastest)),
    ]


def _distance(row: Row) -> str:
    metric = response(row)
    assert metric is not None
    if metric.verdict == "undecided":
        return f"undecided: {words.why_open(row, metric)}"
    return f"{words.times(metric)} the threshold"


def _interactive(row: Row) -> bool:
    """Whether the first answer and every further token surely come in time."""
    first, token = response(row), row.metric("tpot")
    return all(metric.verdict == "under" for metric in (first, token) if metric)


def _wait(row: Row) -> float:
    metric = response(row)
    return metric.p50 if metric else float("inf")


def _speed_words(row: Row) -> str:
    first, token = response(row), row.metric("tpot")
    assert first is not None
    said = words.value(first)
    return f"{said}, {cells.rate_words(token)} written" if token else said


def host_facts(host: Host) -> tuple[tuple[str, str], ...]:
    """Return what is known of a host, in words; what is not says so."""
    cores = f"{host.physical_cores} physical, {host.logical_cores} logical"
    caches = zip(("L1d", "L2", "L3"), (host.l1d_bytes, host.l2_bytes, host.l3_bytes), strict=True)
    packages = ", ".join(f"{name} {version}" for name, version in sorted(host.packages.items()))
    facts = (
        ("CPU", host.cpu_model),
        ("Microarchitecture", host.microarchitecture),
        ("Board", host.board),
        ("Vendor, architecture", ", ".join(filter(None, (host.cpu_vendor, host.arch)))),
        ("Instruction sets", " ".join(host.flags)),
        ("Microcode", host.microcode),
        ("Sockets", str(host.sockets or "")),
        ("Cores", f"{cores}, {host.usable_cores:g} usable"),
        ("Highest clock", f"{host.max_mhz:,.0f} MHz" if host.max_mhz else ""),
        ("Caches", ", ".join(f"{name} {_binary(count)}" for name, count in caches if count)),
        ("RAM", units.size(host.ram_bytes)),
        ("Memory limit", units.size(host.memory_limit_bytes)),
        ("Swap", units.size(host.swap_bytes) if host.swap_bytes else "none"),
        ("Operating system", host.os),
        ("Kernel", host.kernel),
        ("Governor", host.governor),
        ("Turbo", host.turbo),
        ("Virtualised", host.hypervisor or "no hypervisor seen"),
        ("Python", host.python),
        ("Hardware counters", host.counters),
        ("Packages", packages),
        ("Fingerprint", host.fingerprint),
    )
    return tuple((name, value or "not known") for name, value in facts)


def _binary(count: int) -> str:
    """Caches are sold in powers of two: '48 KiB', '1.25 MiB'."""
    if count < units.MIB:
        return f"{count / units.KIB:g} KiB"
    return f"{count / units.MIB:g} MiB"


# ------------------------------------------------------------------------------------- provenance
def _filters(
    table: Sequence[Row], names: dict[str, str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the values of every select, in order of first appearance."""
    values: dict[str, list[str]] = {
        "runtime": [row.record.cell.runtime for row in table],
        "precision": [row.record.cell.precision for row in table],
        "family": [row.record.family for row in table],
        "scenario": [row.record.cell.scenario for row in table],
        "weights": [row.record.cell.weights for row in table],
        "status": [row.record.outcome.status for row in table],
        "verdict": [cells.verdict(row) for row in table],
    }
    found = [(name, _distinct(values[name])) for name in _FILTERS]
    if len(names) > 1:
        found.append(("host", tuple(names.values())))
    return tuple(found)


def _runs(table: Sequence[Row], names: dict[str, str]) -> tuple[Run, ...]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for row in table:
        key = (row.record.run_id, row.record.host.fingerprint)
        groups.setdefault(key, []).extend(row.records)
    return tuple(_run(records, names) for records in groups.values())


def _run(records: Sequence[Record], names: dict[str, str]) -> Run:
    first = min(record.recorded_at for record in records)
    last = max(record.recorded_at for record in records)
    return Run(
        id=records[0].run_id,
        dates=first if first == last else f"{first} to {last}",
        budget=", ".join(_distinct(record.budget for record in records)),
        cells=len({record.cell.id for record in records}),
        processes=len(records),
        host=names[records[0].host.fingerprint],
    )


def _versions(table: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    """Return every version of every package that was measured with."""
    found: dict[str, set[str]] = {}
    for row in table:
        for package, version in row.record.outcome.versions.items():
            found.setdefault(package, set()).add(version)
    return tuple((package, ", ".join(sorted(found[package]))) for package in sorted(found))


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(value for value in dict.fromkeys(values) if value)


def _command(records: Sequence[Record]) -> str:
    threads = sorted({record.cell.threads for record in records})
    return " ".join(["cpufit run --suite again.toml", *(f"--threads {n}" for n in threads)])


def suite(records: Sequence[Record]) -> str:
    """Return the TOML of a suite that measures these cells again; '' where there are none."""
    wanted: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    scenarios: dict[tuple[str, str, str, str], list[str]] = {}
    for record in records:
        cell = record.cell
        key = (cell.card, cell.runtime, cell.precision, cell.weights)
        scenarios.setdefault(key, []).append(cell.scenario)
    for (model, *rest), found in scenarios.items():
        runtime, precision, weights = rest
        block = (runtime, precision, weights, tuple(sorted(set(found))))
        wanted.setdefault(block, []).append(model)
    if not wanted:
        return ""
    lines = ['title = "the cells of this report"', f"budget = {json.dumps(records[-1].budget)}"]
    for (runtime, precision, weights, names), models in wanted.items():
        lists = {
            "models": models, "runtimes": [runtime], "precisions": [precision],
            "scenarios": list(names), "weights": [weights],
        }  # fmt: skip
        lines += ["", "[[cells]]", *(f"{key} = {json.dumps(v)}" for key, v in lists.items())]
    return "\n".join(lines)
