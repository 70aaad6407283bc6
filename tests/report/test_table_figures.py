"""A table's figures are those of `analyse`, of recorded results and of drawn ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import analysis, store
from cpufit.errors import UsageError
from cpufit.schema import Cell
from cpufit.stats import disturbance, intervals, percentiles
from cpufit.tables import figures, metrics, processes
from cpufit.tables.batch import Segments, estimates
from tests.report import samples
from tests.samples import stored

if TYPE_CHECKING:
    from cpufit.analysis import Metric, Row
    from cpufit.schema import Settings
    from cpufit.tables.figures import Figures
    from cpufit.tables.processes import Cells

    Key = tuple[str, ...]

RECORDED = sorted((Path(__file__).parents[2] / "reference_results").glob("*/*/*.parquet"))
Positive = st.floats(1.0, 1e12)
Processes = st.lists(st.lists(Positive, min_size=1, max_size=40), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return all recorded results, and made-up ones of two hosts."""
    made = tmp_path_factory.mktemp("tables") / "run-1.parquet"
    quiet = samples.in_processes(samples.infer_records(64)[0], 5)
    loud = [samples.disturbed(quiet[0]), *quiet[1:]]
    some = [replace(r, cell=replace(r.cell, variant="loud")) for r in loud]
    most = [samples.disturbed(r) for r in quiet[:3]] + quiet[3:]
    few = [replace(r, cell=replace(r.cell, variant="louder")) for r in most]
    stored(made, [*samples.two_hosts(), *some, *few])
    return [*RECORDED, made]


@pytest.fixture(scope="module")
def rows(files: list[Path], settings: Settings) -> dict[Key, Row]:
    found = analysis.rows(store.read(files), settings.levels)
    return {(r.record.run_id, r.record.host.fingerprint, r.record.cell.id): r for r in found}


def taken(cells: Cells, found: Figures) -> dict[Key, int]:
    """Return which cell of the columns each of `rows` is."""
    prints = {name: fingerprint for fingerprint, name in cells.hosts.items()}
    fields = cells.fields
    return {
        (
            fields["run"].at(i),
            prints[fields["host"].at(i)],
            Cell(**{name: fields[name].at(i) for name in store.CELL}).id,
        ): i
        for i in np.flatnonzero(found.there).tolist()
    }


def of(files: list[Path], name: str) -> tuple[Figures, dict[Key, int]]:
    metric = metrics.parse(name)
    cells = processes.read(files, {}, metrics.COLUMNS[metric.kind])
    found = figures.of(cells, metric, 0.99)
    return found, taken(cells, found)


def half(metric: Metric) -> float:
    return metric.estimate.half_width


@pytest.mark.parametrize(
    "name",
    "latency ttft@128 ttft@512 ttft@4 tpot encode frame preprocess inference postprocess"
    " energy_ttft energy_tpot".split(),
)
def test_medians(files: list[Path], rows: dict[Key, Row], name: str) -> None:
    found, where = of(files, name)
    series, _, size = name.partition("@")
    expected = {k: m for k, r in rows.items() if (m := r.metric(series, int(size or 0) or None))}
    assert set(where) == set(expected)
    for key, metric in expected.items():
        index = where[key]
        assert found.sure.value[index] == pytest.approx(metric.p50, rel=1e-12)
        assert found.sure.half[index] == pytest.approx(half(metric), rel=1e-9)
        assert found.n[index] == metric.n
        assert found.sure.processes[index] == metric.estimate.processes


@pytest.mark.parametrize("name", ["latency-p90", "ttft-p95@128", "tpot-p90", "frame-p99"])
def test_high_percentiles_need_samples(files: list[Path], rows: dict[Key, Row], name: str) -> None:
    found, where = of(files, name)
    series, _, rest = name.partition("-")
    share, _, size = rest.partition("@")
    for key, index in where.items():
        metric = rows[key].metric(series, int(size or 0) or None)
        assert metric is not None
        expected = getattr(metric, share)
        assert bool(found.small[index]) is (expected is None)
        if expected is not None:
            assert found.sure.value[index] == pytest.approx(expected, rel=1e-12)
    assert found.small[list(where.values())].any()


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("tokens/s", ("tpot",)),
        ("prefill@512", ("prefill",)),
        ("throughput", ("batch", "decode")),
        ("fps", ("frame",)),
    ],
)
def test_rates(files: list[Path], rows: dict[Key, Row], name: str, series: tuple[str, ...]) -> None:
    found, where = of(files, name)
    expected = {k: next(filter(None, map(r.metric, series)), None) for k, r in rows.items()}
    assert set(where) == {key for key, metric in expected.items() if metric}
    for key, index in where.items():
        metric = expected[key]
        assert metric is not None
        assert found.sure.value[index] == pytest.approx(metric.rate, rel=1e-12)
        assert found.sure.half[index] == pytest.approx(half(metric), rel=1e-9)


def test_memory_file_cosine_and_load(files: list[Path], rows: dict[Key, Row]) -> None:
    ok = {key: row for key, row in rows.items() if row.ok}
    peaks = {k: float(r.memory.peak_bytes) for k, r in ok.items() if r.memory}
    sizes = {k: float(r.record.artifact.size_bytes) for k, r in ok.items() if r.record.artifact}
    cosines = {k: r.cosine for k, r in ok.items() if r.cosine is not None}
    loads = {
        key: intervals.estimate([[float(r.outcome.load_ns)] for r in row.used]).value
        for key, row in ok.items()
        if row.record.outcome.load_ns
    }
    for name, expected in (
        ("memory", peaks), ("file", sizes), ("cosine", cosines), ("load", loads)
    ):  # fmt: skip
        found, where = of(files, name)
        values = {key: float(found.sure.value[index]) for key, index in where.items()}
        assert values == pytest.approx(expected, rel=1e-12)


def test_what_is_open_is_asked_for(files: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"ttft at 4 and 128 tokens at .*: --metric ttft@12"):
        of(files, "ttft")
    with pytest.raises(UsageError, match=r"no cell of these has ttft@7; there are: .*ttft@128"):
        of(files, "ttft@7")
    with pytest.raises(UsageError, match="no cell of these has energy_tpot"):
        of(RECORDED, "energy_tpot")


@given(st.lists(Processes, min_size=1, max_size=6))
def test_estimates_of_many_are_those_of_each(cells: list[list[list[float]]]) -> None:
    medians = [[percentiles.percentile(values, 0.5) for values in every] for every in cells]
    lengths = np.array([len(every) for every in cells])
    flat = np.array([value for every in medians for value in every])
    found = estimates(Segments(flat, np.cumsum(lengths) - lengths, lengths))
    for index, every in enumerate(cells):
        one = intervals.estimate(every)
        assert found.value[index] == pytest.approx(one.value, rel=1e-12)
        assert found.half[index] == pytest.approx(one.half_width, rel=1e-9)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=30), min_size=1, max_size=9))
def test_percentiles_of_many_are_those_of_each(every: list[list[float]]) -> None:
    lengths = np.array([len(values) for values in every])
    flat = np.array([value for values in every for value in values])
    found = Segments(flat, np.cumsum(lengths) - lengths, lengths)
    for share in (0.5, 0.9, 0.99):
        expected = [percentiles.percentile(values, share) for values in every]
        assert found.percentile(share).tolist() == expected


@given(
    st.lists(st.floats(1, 100), min_size=1, max_size=8),
    st.lists(st.floats(1, 100), min_size=1, max_size=8),
)
def test_what_differs_is_what_the_ratio_says(first: list[float], second: list[float]) -> None:
    lengths = np.array([len(first), len(second)])
    sure = estimates(Segments(np.array(first + second), np.cumsum(lengths) - lengths, lengths))
    (found,) = sure.differs(np.array([0]), np.array([1])).tolist()
    if min(lengths) < 2:
        assert found is False
        return
    low, high = intervals.ratio(np.log(first), np.log(second))
    if min(abs(low - 1), abs(high - 1)) > 1e-9:  # on the very edge rounding decides
        assert found is (not low <= 1 <= high)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(disturbance.NAMES), st.sampled_from([0.0, 0.1, 1, 40])),
            st.floats(0, 64),
        ),
        min_size=1,
    )
)
def test_disturbances_of_many_are_those_of_each(
    every: list[tuple[dict[str, float], float]],
) -> None:
    noise = {name: np.array([n.get(name, 0.0) for n, _ in every]) for name in disturbance.NAMES}
    found = disturbance.has_reasons(noise, np.array([cores for _, cores in every]))
    assert found.tolist() == [bool(disturbance.reasons(n, cores)) for n, cores in every]
