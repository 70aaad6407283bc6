"""What a token costs on OpenVINO by the form of its integer weights, where they lie in the cache.

Nothing here asserts a time.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from cpufit.runtimes.openvino.opening import in_place, new_core

nncf = pytest.importorskip("nncf")  # after `opening`, which keeps it from calling home
pytestmark = pytest.mark.openvino

INPUTS, OUTPUTS = 1024, 2048
ROUNDS = 250
# Mode of NNCF, weights that share a scale (-1: a row's), DYNAMIC_QUANTIZATION_GROUP_SIZE.
FORMS = [
    ("int8_asym", -1, 32),
    ("int8_sym", -1, 32),
    *(("int4_asym", group, 32) for group in (128, 64, 32, -1)),
    *(("int4_asym", 128, dynamic) for dynamic in (0, 64, 128)),
    *(("int4_sym", group, 32) for group in (128, 64, 32, -1)),
]


def _products() -> Any:
    """Return a model of two matrix products, there and back."""
    import openvino as ov
    from openvino import opset13 as op

    draws = np.random.default_rng(0)
    x = inputs = op.parameter([1, 1, INPUTS], ov.Type.f32)
    for rows, columns in ((OUTPUTS, INPUTS), (INPUTS, OUTPUTS)):
        weights = draws.standard_normal((rows, columns), dtype=np.float32) / columns**0.5
        x = op.matmul(x, op.constant(weights), transpose_a=False, transpose_b=True)
    return ov.Model([op.result(x)], [inputs])


def _request(mode: str, group: int, dynamic: int) -> Any:
    whole = True if mode.startswith("int4") else None  # else the last product stays at 8 bits
    model = nncf.compress_weights(
        _products(),
        mode=nncf.CompressWeightsMode(mode),
        group_size=group,
        all_layers=whole,
    )
    settings = {"INFERENCE_NUM_THREADS": 1, "DYNAMIC_QUANTIZATION_GROUP_SIZE": dynamic}
    return new_core().compile_model(model, "CPU", settings).create_infer_request()


def test_forms_against_8_bits_with_zero_points(capsys: pytest.CaptureFixture[str]) -> None:
    """Print the CPU time of one token over that of the first form, round by round."""
    requests = [_request(*form) for form in FORMS]
    tensor = in_place(np.ones((1, 1, INPUTS), np.float32))
    took: list[list[int]] = []
    for turn in range(ROUNDS):
        row = [0] * len(FORMS)
        for place in range(len(FORMS))[:: 1 if turn % 2 else -1]:
            begin = time.process_time_ns()
            requests[place].infer([tensor], share_outputs=True)
            row[place] = time.process_time_ns() - begin
        took.append(row)
    with capsys.disabled():
        for place, (mode, group, dynamic) in enumerate(FORMS):
            ratio = median(row[place] / row[0] for row in took)
            print(f"\n{mode}, group {group}, dynamic {dynamic}: {ratio:.2f}", end="")
