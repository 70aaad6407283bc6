"""One host and one record, for tests to vary with dataclasses.replace, and a run of such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit import store
from cpufit.schema import Artifact, Cell, Host, Input, Memory, Outcome, Record, Series

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOST = Host(
    fingerprint="f0",
    cpu_model="Test CPU",
    cpu_vendor="",
    arch="x86_64",
    flags=("avx2",),
    microcode="",
    sockets=1,
    physical_cores=2,
    logical_cores=2,
    usable_cores=1.5,
    max_mhz=2400.0,
    l1d_bytes=1,
    l2_bytes=2,
    l3_bytes=3,
    ram_bytes=8,
    memory_limit_bytes=4,
    swap_bytes=0,
    os="",
    kernel="",
    governor="",
    turbo="",
    hypervisor="",
    python="3.11",
    packages={"numpy": "2"},
)
RECORD = Record(
    run_id="run-1",
    recorded_at="2026-01-01T00:00:00+00:00",
    cell=Cell(model="m", precision="int8", runtime="fake", scenario="latency", threads=2),
    budget="quick",
    host=HOST,
    artifact=Artifact(
        key="k",
        path="/p",
        size_bytes=5,
        parameters=6,
        format="QDQ",
        recipe="r",
        inputs=(Input(name="x", dtype="float32", shape=("batch", 3, 224), fill="normal"),),
    ),
    outcome=Outcome(
        status="ok",
        series=(Series(name="latency", unit="ns", size=1, items=1, values=(1.0, 2.5)),),
        memory=Memory(baseline_bytes=1, peak_bytes=9, anon_bytes=4, file_bytes=5),
        settings={"threads": "2"},
        noise={"steal_s": 0.1},
        notes=("n",),
    ),
)


def stored(path: Path, records: Sequence[Record], request: str = "{}") -> Path:
    """Write a run that has ended, in place of the one that was there."""
    path.unlink(missing_ok=True)
    results = store.create(path, request)
    results.add(records)
    results.close()
    return path


# A TOML file of the user's own cards.
CARDS = """
[tiny]
title = "Tiny"
family = "llm"
source = "my notes"
[tiny.decoder]
arch = "llama"
layers = 2
hidden = 64
ffn = 96
heads = 4
kv_heads = 2
head_dim = 16
vocab = 100
context = 1024
[small]
title = "Small"
family = "encoder"
source = "my notes"
[small.encoder]
layers = 2
hidden = 64
ffn = 96
heads = 4
vocab = 100
positions = 128
"""
