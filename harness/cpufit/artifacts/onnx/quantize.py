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
from collections import Counter
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic
from onnxruntime.quantization.calibrate import MinMaxCalibrater
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from cpufit.artifacts.onnx.wire import data_of
from cpufit.artifacts.samples import sample
from cpufit.networks.vision.yolo import DECODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onnxruntime.quantization.calibrate import TensorsData

    from cpufit.schema import Input

_SAMPLES = 8
_ERRORS_ONLY = 3


class Quantized(NamedTuple):
    """What was done: the exact number format and the recipe."""

    format: str
    recipe: str


def quantize(fp32: Path, target: Path, inputs: Sequence[Input], *, static: bool) -> Quantized:
    """Write the int8 form of `fp32` to `target`; scratch files live beside it and are removed."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, _quiet(scratch):
        if static:
            return _static(fp32, target, inputs, Path(scratch))
        return _dynamic(fp32, target)


def _static(fp32: Path, target: Path, inputs: Sequence[Input], scratch: Path) -> Quantized:
    """Quantise activations too, with ranges seen on the samples: best for convolutions."""
    prepared = _fold(fp32, scratch / "prepared.onnx")
    operators = sorted({*QLinearOpsRegistry, *QDQRegistry})
    ranges = _ranges(prepared, operators, inputs, scratch / "augmented.onnx")
    model = load_model_with_shape_infer(prepared)
    names = [node.name for node in model.graph.node]
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        # Pixels and probabilities do not share one scale: detectors are decoded in float.
        nodes_to_exclude=[name for name in names if name.startswith(DECODE)],
        op_types_to_quantize=operators,
        # Logits outgrow the range of any few samples and nothing after them wants integers.
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(target)
    return Quantized(
        "QDQ u8s8 per-channel, 7-bit weights",
        f"onnxruntime {ort.__version__} basic optimisation, then its static quantizer: QDQ, u8 "
        f"activations, s8 weights per channel, reduce_range, MinMax on {_SAMPLES} seeded samples, "
        "logits and box decoding in float",
    )


def _fold(fp32: Path, target: Path) -> Path:
    """Fold batch norms into convolutions, so that it is the folded weights that are rounded."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = _ERRORS_ONLY
    ort.InferenceSession(fp32, options, providers=["CPUExecutionProvider"])
    return target


def _ranges(
    prepared: Path, operators: Sequence[str], inputs: Sequence[Input], scratch: Path
) -> TensorsData:
    """Return the range of every activation over the samples."""
    calibrator = _Calibrator(prepared, operators, augmented_model_path=str(scratch))
    calibrator.augment_graph()
    calibrator.create_inference_session()
    calibrator.collect_data(_Reader(inputs))
    return calibrator.compute_data()


def _dynamic(fp32: Path, target: Path) -> Quantized:
    """Quantise activations at run time: best for matrix products of unknown range.

    Convolutions stay float: MobileViT-XXS with 8-bit ones took 76 ms, without 18, in float 20.
    """
    _untie(fp32)
    quantize_dynamic(
        fp32,
        target,
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        use_external_data_format=data_of(fp32).exists(),  # what stays float may be too much
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    return Quantized(
        "dynamic u8s8 per-channel, 7-bit weights",
        f"onnxruntime {ort.__version__} quantize_dynamic: s8 weights per channel, reduce_range, "
        "convolutions in float",
    )


def _untie(file: Path) -> None:
    """Give output layers a copy of the embedding they share: the quantizer turns it over in place.

    Exporters leave two copies as well.
    """
    model = onnx.load(file, load_external_data=False)
    uses = Counter(name for node in model.graph.node for name in node.input)
    arrays = {array.name: array for array in model.graph.initializer}
    shared = [n for n in model.graph.node if n.op_type == "Gemm" and uses[n.input[1]] > 1]
    for node in shared:
        copy = model.graph.initializer.add()
        copy.CopyFrom(arrays[node.input[1]])
        copy.name = node.input[1] = f"{node.name}.weight"
    if shared:
        onnx.save(model, file)


class _Calibrator(MinMaxCalibrater):  # type: ignore[misc]
    """Takes each range as soon as its activation is there; the usual order takes all at the end.

    Faster R-CNN then needs 0.5 GB, not 2.7.
    """

    def create_inference_session(self) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.log_severity_level = _ERRORS_ONLY
        self.infer_session = ort.InferenceSession(
            self.augmented_model_path, options, providers=["CPUExecutionProvider"]
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
