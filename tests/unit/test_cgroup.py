"""Limits of a container, of both versions of control groups, from folders laid out as they are."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from cpufit.probes import cgroup

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroup, "_SELF", tmp_path / "self")
    return tmp_path / "cgroup"


def lay_out(root: Path, membership: str, files: dict[str, str]) -> None:
    root.with_name("self").write_text(membership)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_a_host_without_groups_has_no_limits(root: Path) -> None:
    assert cgroup.memory_limit_bytes() == 0
    assert cgroup.memory_left_bytes() is None
    assert cgroup.quota_cores() == inf
    assert cgroup.periods() is None
    assert not root.exists()


def test_the_tightest_group_above_counts(root: Path) -> None:
    """Version 2: a service in a slice that has less than the service asks for."""
    files = {
        "work.slice/cpu.max": "50000 100000",
        "work.slice/cpu.stat": "usage_usec 9\nnr_periods 40\nnr_throttled 30\nthrottled_usec 5",
        "work.slice/memory.max": "max",
        "work.slice/memory.current": "7000",
        "work.slice/it.service/cpu.max": "max 100000",
        "work.slice/it.service/cpu.stat": "usage_usec 9\nnr_periods 0\nnr_throttled 0",
        "work.slice/it.service/memory.max": "5000",
        "work.slice/it.service/memory.current": "2000",
    }
    lay_out(root, "0::/work.slice/it.service\n", files)
    assert cgroup.quota_cores() == 0.5
    assert cgroup.periods() == (40, 30)
    assert cgroup.memory_limit_bytes() == 5000
    assert cgroup.memory_left_bytes() == 3000


def test_version_1_inside_a_container(root: Path) -> None:
    """Its own path is the host's, and does not exist here: the root is the container's."""
    files = {
        "cpu/cpu.cfs_quota_us": "150000",
        "cpu/cpu.cfs_period_us": "100000",
        "cpu/cpu.stat": "nr_periods 12\nnr_throttled 3\nthrottled_time 70",
        "memory/memory.limit_in_bytes": "1000",
        "memory/memory.usage_in_bytes": "400",
    }
    lay_out(root, "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n", files)
    assert cgroup.quota_cores() == 1.5
    assert cgroup.periods() == (12, 3)
    assert cgroup.memory_limit_bytes() == 1000
    assert cgroup.memory_left_bytes() == 600


def test_version_1_without_limits(root: Path) -> None:
    files = {
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "cpu/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0",
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": "400",
    }
    lay_out(root, "4:memory:/\n1:cpu:/\n0::/\n", files)
    assert cgroup.quota_cores() == inf
    assert cgroup.periods() is None
    assert cgroup.memory_limit_bytes() == 0
