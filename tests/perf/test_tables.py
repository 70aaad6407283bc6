"""How long a table of 1,000,000 processes takes, from the Parquet file to Markdown. Asked: 5 s.

Nothing here asserts a time: `pytest tests/perf/test_tables.py` prints the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.samples import RECORD, stored

from cpufit.precisions import PRECISIONS
from cpufit.schema import Series
from cpufit.tables import table, wish, write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

CELLS, PROCESSES, SAMPLES = 200_000, 5, 4
# as a record of this schema keeps it
NOISE = (
    "wall_s cpu_s foreign_s steal_s quota_periods quota_stops heat_throttles mhz_before mhz_after"
    " major_faults suspended_s clock_step_s hash_ns_before hash_ns_after"
).split()
METRICS = ("ttft@128", "ttft-p90@128", "tokens/s", "memory")


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 100 hosts x 50 models x 4 runtimes x 5 precisions x 2 threads, 5 processes each."""
    path = tmp_path_factory.mktemp("million") / "run-1.parquet"
    stored(path, [RECORD])
    one = pq.read_table(path)
    made = one.take(pa.array(np.zeros(CELLS * PROCESSES, np.int64)))
    for name, column in _columns(one).items():
        made = made.set_column(made.schema.get_field_index(name), made.schema.field(name), column)
    pq.write_table(made, path, compression="zstd")
    return path


def _columns(one: pa.Table) -> dict[str, pa.Array]:
    random = np.random.default_rng(0)
    cell = np.repeat(np.arange(CELLS), PROCESSES)
    rows = len(cell)
    host, rest = np.divmod(cell, 2000)
    model, rest = np.divmod(rest, 40)
    runtime, rest = np.divmod(rest, 10)
    precision, threads = np.divmod(rest, 2)
    hosts = one["host"].to_pylist(maps_as_pydicts="strict")[0]
    named = [{**hosts, "fingerprint": f"f{i}", "cpu_model": f"CPU {i}"} for i in range(100)]
    return {
        "model": _words([f"model-{i}" for i in range(50)], model),
        "runtime": _words([f"runtime-{i}" for i in range(4)], runtime),
        "precision": _words(list(PRECISIONS), precision),
        "threads": pa.array(threads + 1),
        "parameters": pa.array(1000 * (model + 1)),
        "repeat": pa.array(np.tile(np.arange(PROCESSES), CELLS)),
        "host": pa.array(named, one.schema.field("host").type).take(pa.array(host)),
        "noise": _noise(random, rows),
        "series": _series(random, rows, one.schema.field("series").type),
    }


def _words(values: list[str], codes: NDArray[np.int64]) -> pa.Array:
    return pa.array(values).take(pa.array(codes))


def _noise(random: np.random.Generator, rows: int) -> pa.Array:
    """Return a quiet process's noise, but for one in twenty."""
    found = np.tile([2.0, 3.9, 0.02, 0.01, 20, 0, 0, 3000, 2900, 3, 0, 0.001, 1e5, 1.1e5], rows)
    found = found.reshape(rows, len(NOISE))
    found[random.random(rows) < 0.05, NOISE.index("foreign_s")] = 1.0
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * len(NOISE))
    keys = _words(NOISE, np.tile(np.arange(len(NOISE)), rows))
    return pa.MapArray.from_arrays(offsets, keys, pa.array(found.ravel()))


def _series(random: np.random.Generator, rows: int, kind: pa.ListType) -> pa.Array:
    """Return TTFT at 128 tokens and TPOT of each process, with its own luck."""
    luck = np.repeat(random.lognormal(0, 0.1, rows), 2 * SAMPLES)
    values = 1e8 * luck * random.lognormal(0, 0.03, len(luck))
    each = 2 * rows
    of_series = pa.ListArray.from_arrays(
        pa.array(np.arange(each + 1, dtype=np.int32) * SAMPLES), pa.array(values)
    )
    columns = {
        "name": _words(["ttft", "tpot"], np.tile([0, 1], rows)),
        "unit": _words(["ns"], np.zeros(each, np.int64)),
        "size": pa.array(np.tile([128, 1], rows)),
        "items": pa.array(np.tile([128, 1], rows)),
        "values": of_series,
    }
    assert list(columns) == list(Series.__dataclass_fields__)
    structs = pa.StructArray.from_arrays(list(columns.values()), fields=list(kind.value_type))
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * 2)
    return pa.ListArray.from_arrays(offsets, structs)


@pytest.mark.parametrize("metric", METRICS)
def test_a_table_of_every_cell(benchmark: BenchmarkFixture, million: Path, metric: str) -> None:
    """200,000 figures: 10,000 rows of 20."""
    rows, columns = "host,model,threads", "runtime,precision"
    found = benchmark.pedantic(_made, args=(million, rows, columns, metric), rounds=3)
    assert len(found.splitlines()) > 10_000


@pytest.mark.parametrize("metric", METRICS)
def test_a_table_of_one_host(benchmark: BenchmarkFixture, million: Path, metric: str) -> None:
    """1,000 figures out of as many rows of the file."""
    asked = ("host=CPU 7", "threads=2")
    arguments = (million, "model", "runtime,precision", metric, asked)
    found = benchmark.pedantic(_made, args=arguments, rounds=3)
    assert 50 < len(found.splitlines()) < 70


def _made(path: Path, rows: str, columns: str, metric: str, where: tuple[str, ...] = ()) -> str:
    wished = wish.of_words([str(path)], rows, columns, metric, where)
    return write.FORMATS["md"](table.make(wished, [path], "cpufit table", 0.99))
