"""How fast GGUF files are written, beside plain writes of the same size.

Nothing here asserts a time: the figures are for reading, `pytest tests/perf --benchmark-only`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpufit.artifacts import gguf
from cpufit.catalog import pick
from cpufit.networks.decoder import pools
from cpufit.schema import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from cpufit.precisions import Precision

MODEL = "tinyllama-1.1b"
TENSOR_BYTES: dict[Precision, int] = {"int4": 667_078_656, "int8": 1_169_072_128}
PIECE = b"\1" * (8 << 20)


@pytest.fixture(params=["/dev/shm", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    if not Path(request.param).is_dir():
        pytest.skip("no tmpfs")
    with tempfile.TemporaryDirectory(dir=request.param) as made:
        yield Path(made)


def measure(benchmark: BenchmarkFixture, file: Path, write: Callable[[], object]) -> int:
    """Time `write` three times on a missing file and return the file's size."""

    def setup() -> None:
        file.unlink(missing_ok=True)
        pools.pool.cache_clear()

    benchmark.pedantic(write, setup=setup, rounds=3)
    size = file.stat().st_size
    if benchmark.stats is not None:
        benchmark.extra_info["gigabytes_per_s"] = size / benchmark.stats.stats.min / 1e9
    return size


@pytest.mark.parametrize("precision", TENSOR_BYTES)
def test_write_gguf(benchmark: BenchmarkFixture, folder: Path, precision: Precision) -> None:
    file = folder / f"{MODEL}.gguf"
    asked = Order(
        builder="gguf",
        model=pick(MODEL),
        precision=precision,
        runtime="llama.cpp",
        weights="synthetic",
    )
    size = measure(benchmark, file, lambda: gguf.build(asked, folder))
    assert size > TENSOR_BYTES[precision]


@pytest.mark.parametrize("precision", TENSOR_BYTES)
def test_write_plainly(benchmark: BenchmarkFixture, folder: Path, precision: Precision) -> None:
    file = folder / "plain"

    def write() -> None:
        with file.open("wb", buffering=0) as opened:
            while opened.tell() < TENSOR_BYTES[precision]:
                opened.write(PIECE)

    assert measure(benchmark, file, write) > TENSOR_BYTES[precision]
