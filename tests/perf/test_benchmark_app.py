"""Ours beside OpenVINO's own `benchmark_app`: same file and threads, fresh processes in turn.

Nothing here asserts a time.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.perf.one_pass import SECONDS, THREADS, made, medians
from tests.perf.pairs import in_turns, quote

if TYPE_CHECKING:
    from tests.perf.pairs import Figures

    from cpufit.schema import Artifact, Precision

pytestmark = pytest.mark.openvino

CASES: tuple[tuple[str, Precision], ...] = (("resnet-50", "fp32"), ("mobilenet-v2", "int8"))
ROUNDS = 20


def _theirs(artifact: Artifact) -> Figures:
    program = Path(sys.executable).with_name("benchmark_app")
    (images,) = artifact.inputs
    shape = ",".join(str(axis) for axis in (1, *images.shape[1:]))
    options = {
        "-m": artifact.path,
        "-d": "CPU",
        "-hint": "none",  # it takes no number of threads beside "latency", which is one stream
        "-nstreams": 1,
        "-api": "sync",
        "-nthreads": THREADS,
        "-t": SECONDS,
        "-shape": f"{images.name}[{shape}]",
    }
    parts = [str(part) for pair in options.items() for part in pair]
    done = subprocess.run([program, *parts], check=True, stdout=subprocess.PIPE, text=True)
    found = re.search(r"Median:\s+([0-9.]+) ms", done.stdout)
    assert found, done.stdout
    return {"p50": float(found[1]) * 1e6}


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_beside_benchmark_app(
    name: str, precision: Precision, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print our time over theirs."""
    artifact = made(name, precision, "openvino")
    ratios = in_turns(lambda: medians(artifact, "openvino"), lambda: _theirs(artifact), ROUNDS)
    assert set(ratios) == {"p50"}
    with capsys.disabled():
        print(f"\n{name} {precision} p50: {quote(ratios['p50'])} of benchmark_app's time")
