"""INT8 forms by ONNX Runtime's own quantizer, as its users make them.

Weights take 7 bits in both forms (`reduce_range`). On CPUs without VNNI the u8 x s8 kernels add
pairs of products in 16 bits, which full-range weights overflow. Cosine to the fp32 output, measured
on AVX2 (Zen 3, onnxruntime 1.31.1) with 8 and with 7 bits: DistilBERT 0.960 and 0.9997, MobileNetV3
0.936 and 0.9993, EfficientNet-Lite0 0.985 and 0.998, at the same speed.
"""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from cpufit.artifacts.graphs.samples import sample
from cpufit.artifacts.graphs.yolo import DECODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cpufit.schema import Input

_SAMPLES = 8


class Quantized(NamedTuple):
    """What was done: the exact number format and the recipe."""

    format: str
    recipe: str


def quantize(fp32: Path, target: Path, inputs: Sequence[Input], *, static: bool) -> Quantized:
    """Write the int8 form of `fp32` to `target`; scratch files live beside it and are removed."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, _quiet(scratch):
        if static:
            return _static(fp32, target, inputs, Path(scratch) / "prepared.onnx")
        return _dynamic(fp32, target)


def _static(fp32: Path, target: Path, inputs: Sequence[Input], prepared: Path) -> Quantized:
    """Quantise activations too, with ranges seen on the samples: best for convolutions."""
    # Folds batch norms into convolutions, so that it is the folded weights that are rounded.
    quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
    nodes = onnx.load(prepared).graph.node
    quantize_static(
        prepared,
        target,
        _Reader(inputs),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        # Pixels and probabilities do not share one scale: detectors are decoded in float.
        nodes_to_exclude=[node.name for node in nodes if node.name.startswith(DECODE)],
        # Logits outgrow the range of any few samples and nothing after them wants integers.
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    )
    return Quantized(
        "QDQ u8s8 per-channel, 7-bit weights",
        f"onnxruntime {ort.__version__} quant_pre_process, quantize_static: QDQ, u8 activations, "
        f"s8 weights per channel, reduce_range, MinMax on {_SAMPLES} seeded samples, "
        "logits and box decoding in float",
    )


def _dynamic(fp32: Path, target: Path) -> Quantized:
    """Quantise activations at run time: best for matrix products of unknown range."""
    quantize_dynamic(fp32, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    return Quantized(
        "dynamic u8s8 per-channel, 7-bit weights",
        f"onnxruntime {ort.__version__} quantize_dynamic: s8 weights per channel, reduce_range",
    )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands the calibration samples out one by one, as the quantizer wants it."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._rest = (sample(inputs, index) for index in range(_SAMPLES))

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rest, None)


@contextmanager
def _quiet(scratch: str) -> Iterator[None]:
    """Keep the quantizer's files in `scratch` and its advice, which the recipe follows, unsaid."""
    root = logging.getLogger()
    folder, handlers, disabled = tempfile.tempdir, list(root.handlers), root.manager.disable
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tempfile.tempdir = scratch
        logging.disable()
        try:
            yield
        finally:
            tempfile.tempdir = folder
            logging.disable(disabled)
            root.handlers[:] = handlers  # logging.warning() gives a root without any one of its own
