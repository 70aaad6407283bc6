"""How long a vision artifact takes to build, and how much memory, each in a fresh process.

Nothing here asserts a time.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.precisions import Precision


pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = [pytest.mark.onnxruntime, pytest.mark.openvino]

MODELS = ("mobilenet-v2", "resnet-50", "resnet-152", "yolov5s", "faster-rcnn-r50-half")
_CHILD = """
import resource, sys, time
from pathlib import Path
from cpufit.artifacts import cache
from cpufit.catalog import pick

name, precision, runtime, folder = sys.argv[1:]
request = order_of(pick(name), precision, runtime, "synthetic", Path(folder))
start = time.perf_counter()
made = cache.make(request, Path(folder))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{name} {precision} {runtime}: {seconds:.1f} s, peak {peak:.0f} MiB, "
      f"file {made.size_bytes / 1e6:.0f} MB")
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_time_and_memory_of_a_build(
    name: str,
    precision: Precision,
    runtime: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Print both."""
    command = [sys.executable, "-c", _CHILD, name, precision, runtime, str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    with capsys.disabled():
        print(f"\n{done.stdout.splitlines()[-1]}")
