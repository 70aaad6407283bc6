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


def test_the_page_cache_of_files_just_written_is_free(root: Path) -> None:
    """Version 2: 900 of the 950 in use are files, which the kernel drops for whoever asks."""
    stat = "anon 40\nfile 910\nshmem 10\ninactive_file 600\nactive_file 300\nunevictable 0"
    files = {"memory.max": "1000", "memory.current": "950", "memory.stat": stat}
    lay_out(root, "0::/\n", files)
    assert cgroup.memory_limit_bytes() == 1000
    assert cgroup.memory_left_bytes() == 950


def test_version_1_counts_the_cache_of_the_groups_below(root: Path) -> None:
    stat = "cache 5\ninactive_file 1\nactive_file 4\ntotal_inactive_file 300\ntotal_active_file 200"
    files = {
        "memory/memory.limit_in_bytes": "1000",
        "memory/memory.usage_in_bytes": "900",
        "memory/memory.stat": stat + "\nhierarchical_memory_limit 1000",
    }
    lay_out(root, "4:memory:/docker/abc\n0::/\n", files)
    assert cgroup.memory_left_bytes() == 600


def test_version_1_tells_the_limit_of_groups_that_are_not_seen(root: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": "400",
        "memory/memory.stat": "total_inactive_file 100\nhierarchical_memory_limit 2000",
    }
    lay_out(root, "4:memory:/docker/abc\n", files)
    assert cgroup.memory_limit_bytes() == 2000
    assert cgroup.memory_left_bytes() == 1700


def test_a_group_above_with_less_left_counts(root: Path) -> None:
    """The own group has room, but a neighbour has filled the slice with what cannot be dropped."""
    files = {
        "a.slice/memory.max": "5000",
        "a.slice/memory.current": "4900",
        "a.slice/memory.stat": "anon 4600\ninactive_file 200\nactive_file 100",
        "a.slice/b.scope/memory.max": "3000",
        "a.slice/b.scope/memory.current": "1000",
        "a.slice/b.scope/memory.stat": "anon 700\ninactive_file 200\nactive_file 100",
    }
    lay_out(root, "0::/a.slice/b.scope\n", files)
    assert cgroup.memory_limit_bytes() == 3000
    assert cgroup.memory_left_bytes() == 400


def test_a_group_is_slowed_to_a_crawl_above_its_high_mark(root: Path) -> None:
    files = {"memory.max": "max", "memory.high": "3000", "memory.current": "1000"}
    lay_out(root, "0::/\n", files)
    assert cgroup.memory_limit_bytes() == 3000
    assert cgroup.memory_left_bytes() == 2000


@pytest.mark.parametrize("stat", ["", "inactive_file", "inactive_file many", "inactive_file 9999"])
def test_a_strange_memory_stat_never_gives_more_than_the_limit(root: Path, stat: str) -> None:
    files = {"memory.max": "1000", "memory.current": "400", "memory.stat": stat}
    lay_out(root, "0::/\n", files)
    assert cgroup.memory_left_bytes() == (1000 if "9999" in stat else 600)


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
