"""FP16 against FP32 on ONNX Runtime: does this CPU's build have kernels that make it worth while?

Nothing here asserts a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import pytest
from tests.perf.one_pass import made, medians
from tests.perf.pairs import in_turns, quote

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.schema import Artifact

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

ROUNDS = 6


def _halved(whole: Artifact, file: Path) -> Artifact:
    """Write the model with weights and arithmetic in 16 bits, inputs and outputs in 32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(whole.path), keep_io_types=True), file)
    return replace(whole, key="half", path=str(file))


@pytest.mark.parametrize("name", ["mobilenet-v2", "resnet-50", "clip-vit-b32-image"])
def test_half_against_whole(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the time at 16 bits over that at 32."""
    whole = made(name, "fp32", "onnxruntime")
    half = _halved(whole, tmp_path / "half.onnx")
    ratios = in_turns(
        lambda: medians(half, "onnxruntime"), lambda: medians(whole, "onnxruntime"), ROUNDS
    )
    with capsys.disabled():
        print(f"\n{name} p50: {quote(ratios['p50'])} of the time at fp32")
