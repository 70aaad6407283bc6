"""Memory, energy and noise read from where they really come, or from a tree that looks so."""

from __future__ import annotations

import os
import platform
import time
from contextlib import closing
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path
from threading import Thread

import pytest

from cpufit.doctor import checks
from cpufit.errors import UnavailableError
from cpufit.probes import counters, energy, host, memory, micro, noise

DIFFERENCES = ("clock_step_s", "suspended_s", "temperature_c_before", "temperature_c_after")

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def _block() -> mmap:
    """Return 64 MB, touched, of the system's own: a heap that had room would not give them back."""
    block = mmap(-1, 64 << 20, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    for _ in range(64):
        block.write(b"\1" * (1 << 20))
    return block


@linux
def test_the_peak_sees_memory_that_is_gone_again() -> None:
    memory.reset_peak()
    before = memory.resident()
    _block().close()
    after = memory.resident()
    assert after.peak_bytes - before.total_bytes >= 60 << 20
    assert after.total_bytes - before.total_bytes < 30 << 20


@linux
@pytest.mark.parametrize("sample", [False, True])
def test_a_watch_keeps_what_the_peak_was_made_of(sample: bool) -> None:
    start = memory.resident().anon_bytes
    with memory.Watch(sample=sample) as watch:
        block = _block()
        watch.look()
        block.close()
        watch.look()
    assert watch.highest.anon_bytes - start >= 60 << 20
    assert watch.peak_bytes - watch.baseline_bytes >= 60 << 20


@linux
def test_a_sampling_watch_sees_what_nobody_looks_at() -> None:
    with memory.Watch(sample=True) as watch:
        block = _block()
        deadline = time.monotonic() + 60
        while watch.highest.total_bytes - watch.baseline_bytes < 60 << 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        block.close()


@linux
def test_available_memory_is_what_the_host_has_at_most() -> None:
    assert (
        0
        < memory.host_available_bytes()
        <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )


def _powercap(root: Path, name: str, value: int, kind: str = "package-0") -> Path:
    zone = root / name
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{kind}\n")
    (zone / "max_energy_range_uj").write_text("1000000\n")
    (zone / "energy_uj").write_text(f"{value}\n")
    return zone


def test_energy_adds_packages_and_leaves_sub_domains_out(tmp_path: Path) -> None:
    zones = [_powercap(tmp_path, f"intel-rapl:{i}", 100, f"package-{i}") for i in (0, 1)]
    _powercap(tmp_path, "intel-rapl:0:0", 7, "core")
    _powercap(tmp_path, "intel-rapl:2", 7, "psys")
    meter = energy.open_meter(tmp_path)
    before = meter.read()
    for zone, value in zip(zones, (500_100, 250_100), strict=True):
        (zone / "energy_uj").write_text(str(value))
    assert meter.joules(before, meter.read()) == pytest.approx(0.75)


def test_a_counter_that_wrapped_is_undone(tmp_path: Path) -> None:
    zone = _powercap(tmp_path, "intel-rapl:0", 900_000)
    total = energy.Total(0.01, tmp_path)
    assert total.idle_w == 0
    (zone / "energy_uj").write_text("100000")
    assert total.joules() == pytest.approx(0.2)
    (zone / "energy_uj").write_text("50000")
    assert total.joules() == pytest.approx(0.2 + 0.95)


def test_a_host_without_rapl_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no powercap interface"):
        energy.open_meter(tmp_path / "none")
    with pytest.raises(UnavailableError, match="powercap lists no CPU package"):
        energy.open_meter(tmp_path)


def test_rapl_that_may_not_be_read_names_the_remedy(tmp_path: Path) -> None:
    zone = _powercap(tmp_path, "intel-rapl:0", 5)
    (zone / "energy_uj").unlink()
    (zone / "energy_uj").mkdir()  # unreadable even for root
    with pytest.raises(UnavailableError, match="sudo chmod a\\+r"):
        energy.open_meter(tmp_path)


def test_noise_is_a_difference_of_counters() -> None:
    before = noise.snapshot()
    assert {"involuntary_switches", "major_faults", "cpu_s", "wall_s", "real_s"} <= set(before)
    sum(range(3_000_000))
    spent = noise.difference(before, noise.snapshot())
    assert spent["cpu_s"] > 0
    assert all(value >= 0 for name, value in spent.items() if name not in DIFFERENCES)


def test_clocks_that_part_are_told_apart() -> None:
    before = {"wall_s": 10.0, "real_s": 100.0, "boot_s": 10.0, "cpu_s": 1.0, "busy_s": 5.0}
    after = {"wall_s": 12.0, "real_s": 3642.0, "boot_s": 42.0, "cpu_s": 2.5, "busy_s": 7.0}
    found = noise.difference(before | {"mhz": 3000.0}, after | {"mhz": 2000.0})
    assert found["suspended_s"] == 30
    assert found["clock_step_s"] == 3510
    assert found["foreign_s"] == 0.5
    assert (found["mhz_before"], found["mhz_after"]) == (3000, 2000)


@linux
def test_a_software_event_is_counted_in_threads_too() -> None:
    """Hardware events need the hardware; the kernel's own clock goes the same way."""
    try:
        found = counters.Counters((counters.Event("task_clock_ns", kind=1, config=1),))
    except UnavailableError as error:
        pytest.skip(str(error))
    with closing(found):
        alone = found.read()["task_clock_ns"]
        thread = Thread(target=lambda: sum(range(3_000_000)))
        thread.start()
        thread.join()
        assert found.read()["task_clock_ns"] - alone > 5e6


def test_without_counters_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    assert counters.problem().startswith("no hardware counters: ")


def test_a_probe_is_kept_before_and_after() -> None:
    found = micro.probe()
    assert all(value > 0 for value in found.values())
    both = micro.compared(found, {"hash_ns": 1.0, "copy_ns": 2.0})
    assert both["hash_ns_before"] == found["hash_ns"]
    assert both["copy_ns_after"] == 2


def test_the_host_knows_itself() -> None:
    here = host.describe(("numpy",))
    assert here.cpu_model
    assert here.ram_bytes >= here.memory_limit_bytes > 1 << 28
    assert 1 <= host.default_threads() <= (os.cpu_count() or 1)
    assert here == host.describe(("numpy",))


def test_less_than_a_core_is_a_bad_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "usable_cores", lambda: 0.5)
    *_, cores = checks.watch(0.01)
    assert (cores.name, cores.level) == ("cores", "bad")
    assert "such a container only" in cores.remedy


def test_the_doctor_gives_each_bad_finding_a_remedy(tmp_path: Path) -> None:
    found = checks.examine(tmp_path / "cache")
    names = {check.name for check in found}
    assert {"governor", "turbo", "steal", "swap", "load", "energy (RAPL)"} <= names
    assert all(check.remedy for check in found if check.level == "bad")


def test_the_busiest_is_who_works_now(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {(1, "init"): 900.0, (7, "hog"): 1.5, (8, "quiet"): 3.0}
    monkeypatch.setattr(checks, "_cpu_seconds", lambda: taken)
    check = checks._load(0.9, {(1, "init"): 900.0, (8, "quiet"): 2.9})
    assert check.remedy == "stop other work first; busiest: hog, quiet"


def test_a_cache_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    check = checks._disk(tmp_path / "file" / "cache")
    assert check.level == "bad"
    assert "Not a directory" in check.value
    assert "--cache" in check.remedy
