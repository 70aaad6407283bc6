"""A child that wants more than it may have ends, and cpufit says so in one line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cpufit import confined, files
from cpufit.artifacts import asis
from cpufit.artifacts.asis import apart
from cpufit.catalog import model_of_file
from cpufit.errors import DataError

_MIB = 1 << 20


def run(code: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-P", "-c", f"from cpufit import confined\n{code}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def test_a_process_that_computes_without_end_is_ended() -> None:
    done = run(f"confined.confine({64 * _MIB}, 0, {_MIB})\nwhile True: pass")
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_a_process_that_wants_all_memory_is_refused_it() -> None:
    done = run(f"confined.confine({64 * _MIB}, 9, {_MIB})\nbytearray({256 * _MIB})")
    assert done.stderr.strip().endswith("MemoryError")
    assert run(f"confined.confine({64 * _MIB}, 9, 1)\nbytearray({8 * _MIB})").returncode == 0


def test_a_process_writes_no_more_than_it_may(tmp_path: Path) -> None:
    target = tmp_path / "much"
    run(
        f"confined.confine({64 * _MIB}, 9, 1000)\n"
        f"open({str(target)!r}, 'wb', buffering=0).write(b'x' * 5000)"
    )
    assert target.stat().st_size == 1000


def test_a_child_goes_first_when_memory_ends() -> None:
    done = run("confined.expendable()\nprint(open('/proc/self/oom_score_adj').read())")
    assert done.stdout.strip() == "1000"
    own = Path("/proc/self/oom_score_adj").read_text(encoding="ascii").strip()
    assert own != "1000"


def test_a_file_whose_reader_dies_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"x")
    monkeypatch.setattr(apart, "READER", "cpufit.no_such_module")
    with pytest.raises(DataError, match=r"^m\.onnx cannot be read: .*no_such_module") as refusal:
        apart.look(file, model_of_file(file))
    assert "\n" not in str(refusal.value)


def test_what_ended_a_reader_is_told() -> None:
    late = "takes longer to read than any model of its size"
    assert apart.died(None, -signal.SIGXCPU, b"") == apart.died(None, 0, b"") == late
    assert apart.died(b"", -signal.SIGSEGV, b"") == "ends what reads it by SIGSEGV"
    assert apart.died(b"", 1, b"a\nValueError: \x1b[31mx") == "cannot be read: ValueError: ?[31mx"


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "once.timings"
    file.write_text("{}", encoding="utf-8")
    model = model_of_file(file)
    first = apart.look(file, model)
    monkeypatch.setattr(apart, "READER", "cpufit.no_such_module")
    assert apart.look(file, asis.known(model, asis.about(file, model))) is first
    file.write_text("{ }", encoding="utf-8")
    with pytest.raises(DataError):
        apart.look(file, model)


def test_a_pipe_is_no_model_file(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"x")
    with pytest.raises(DataError, match="is no file"):
        apart.look(Path("/dev/zero"), model_of_file(file))


def test_a_child_sees_little_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in confined.environment()


def test_a_name_is_short_enough_for_a_file_and_its_own() -> None:
    long = "é" * 240
    assert files.name_of("net") == "net"
    assert len(files.name_of(long).encode()) <= 100
    assert files.name_of(long) != files.name_of(long + "x")
