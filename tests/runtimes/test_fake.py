"""The fake runtime plays its timings exactly, fails as asked, and takes its builder's files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from cpufit.artifacts import timings
from cpufit.catalog import load_models
from cpufit.errors import DataError, UsageError
from cpufit.precisions import PRECISIONS
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.runtimes.fake.runtime import FakeRuntime
from cpufit.runtimes.fake.timings import read_timings
from cpufit.schema import Artifact, Order

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.runtimes.fake.runtime import FakeSession

PLAIN = {"load_ms": 5, "first_ms": 3, "infer_ms": 2, "prefill_ms_per_token": 0.5, "decode_ms": 7}


def artifact(folder: Path, **values: object) -> Artifact:
    file = folder / "fake.json"
    file.write_text(json.dumps(values))
    return Artifact(
        key="k", path=str(file), size_bytes=0, parameters=0, format="timings", recipe=""
    )


def play(runtime: FakeRuntime, session: FakeSession, step: Step) -> int:
    work, start = session.prepare(step), runtime.clock()
    work.run()
    return runtime.clock() - start


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    session = runtime.load(artifact(tmp_path, **PLAIN), LoadOptions(threads=1))
    assert runtime.clock() == 5_000_000
    assert play(runtime, session, Step(kind="prefill", tokens=10)) == 3_000_000 + 5_000_000
    assert play(runtime, session, Step(kind="prefill", tokens=10)) == 5_000_000
    assert play(runtime, session, Step(kind="decode")) == 7_000_000
    assert play(runtime, session, Step(kind="infer")) == 2_000_000


def test_a_batch_costs_an_inference_each_but_one_pass_of_decoding(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    session = runtime.load(
        artifact(tmp_path, infer_ms=2, decode_ms=7), LoadOptions(threads=1, batch=4)
    )
    assert play(runtime, session, Step(kind="infer")) == 8_000_000
    assert play(runtime, session, Step(kind="decode")) == 7_000_000
    assert session.prepare(Step(kind="decode")).items == 4
    assert session.prepare(Step(kind="infer")).items == 4


def test_jitter_is_bounded_repeatable_and_seeded(tmp_path: Path) -> None:
    made = artifact(tmp_path, infer_ms=100, jitter=0.1)

    def series(seed: int) -> list[int]:
        runtime = FakeRuntime()
        session = runtime.load(made, LoadOptions(threads=1, seed=seed))
        return [play(runtime, session, Step(kind="infer")) for _ in range(300)]

    first = series(1)
    assert first == series(1) != series(2)
    assert len(set(first)) > 250
    assert all(90_000_000 < ns < 110_000_000 for ns in first)
    assert abs(sum(first) / 300 - 100_000_000) < 1_000_000


def test_no_real_time_passes(tmp_path: Path) -> None:
    runtime, start = FakeRuntime(), time.perf_counter()
    session = runtime.load(artifact(tmp_path, infer_ms=3_600_000), LoadOptions(threads=1))
    assert play(runtime, session, Step(kind="infer")) == 3_600_000_000_000
    assert time.perf_counter() - start < 60


def test_memory_is_really_taken(tmp_path: Path) -> None:
    session = FakeRuntime().load(
        artifact(tmp_path, infer_ms=1, memory_bytes=1_000_000), LoadOptions(threads=1)
    )
    assert len(session._memory) == 1_000_000
    session.close()
    assert session._memory == b""


@pytest.mark.parametrize(("mode", "error"), [("error", RuntimeError), ("oom", MemoryError)])
def test_failures_that_raise(tmp_path: Path, mode: str, error: type[Exception]) -> None:
    session = FakeRuntime().load(artifact(tmp_path, infer_ms=1, fail=mode), LoadOptions(threads=1))
    with pytest.raises(error, match="the timings file asks for"):
        session.prepare(Step(kind="infer")).run()


def start_child(file: str) -> subprocess.Popen[bytes]:
    code = (
        "from cpufit.runtimes.fake.runtime import RUNTIME, FakeSession\n"
        "from cpufit.runtimes.fake.timings import read_timings\n"
        "from cpufit.runtimes.base import LoadOptions, Step\n"
        "from pathlib import Path\n"
        f"timings = read_timings(Path({file!r}))\n"
        "session = FakeSession(timings, LoadOptions(threads=1), lambda ns: None)\n"
        "print('ready', flush=True)\n"
        "session.prepare(Step(kind='infer')).run()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def test_crash_dies_of_a_signal(tmp_path: Path) -> None:
    with start_child(artifact(tmp_path, infer_ms=1, fail="crash").path) as child:
        assert child.wait(timeout=60) == -signal.SIGSEGV


def test_hang_never_ends(tmp_path: Path) -> None:
    with start_child(artifact(tmp_path, infer_ms=1, fail="hang").path) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.3)
        child.kill()
        assert child.wait(timeout=60) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"infer_mz": 1}', UsageError, "unknown key .did you mean 'infer_ms'"),
        ('{"infer_ms": -1}', UsageError, "infer_ms: .* greater than or equal to 0, not -1"),
        ('{"infer_ms": NaN}', UsageError, "finite"),
        ('{"jitter": 1, "fail": "x"}', UsageError, "jitter: .*; fail: "),
        ("[1]", UsageError, "not .1."),
        ("{", DataError, "is not valid JSON"),
        ("\xff", DataError, "is not valid JSON"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(error, match=message) as caught:
        read_timings(file)
    assert "\n" not in str(caught.value)


def test_missing_file_and_missing_time(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_timings(tmp_path / "none.json")
    session = FakeRuntime().load(artifact(tmp_path, decode_ms=1), LoadOptions(threads=1))
    with pytest.raises(DataError, match="no time for infer"):
        session.prepare(Step(kind="infer"))


@pytest.mark.parametrize("name", [n for n, m in load_models().items() if m.weights != ("real",)])
def test_every_card_gives_timings_the_runtime_takes(tmp_path: Path, name: str) -> None:
    model, loads = load_models()[name], []
    for precision in PRECISIONS:
        request = Order(
            builder="timings", model=model, precision=precision, runtime="fake", weights="synthetic"
        )
        built = timings.build(request, tmp_path)
        assert built.file.stat().st_size == timings.estimate_bytes(request)
        read = read_timings(built.file)
        loads.append(read.load_ms)
        writes = model.task != "infer"
        assert (read.decode_ms > 0) is (read.prefill_ms_per_token > 0) is writes
        assert (read.infer_ms > 0) is (model.task != "generate")
    assert loads == sorted(loads, reverse=True)
    assert loads[0] == 8 * loads[-1]
