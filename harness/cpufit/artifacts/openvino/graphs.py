"""OpenVINO IR of vision models and encoders, made from the same ONNX graphs as everyone's.

INT8 is made by NNCF rather than read from ONNX Runtime's quantized files, from what OpenVINO's
converter makes of the graph, as its users do. It folds batch norms into convolutions; NNCF would
leave a FakeQuantize between the two otherwise, and every depthwise convolution in float.

    INT8 on x86          convolutions in float    changes of format
                         unfolded   folded        unfolded   folded
    MobileNetV2            17         0              19         2
    EfficientNet-Lite0     16         0              18         2
    MobileNetV3-Small      11         0              40        20
    YOLOv8n                 1         1             348         6
    ResNet-50               0         0               2         2

Weights take half their range, since kernels of CPUs without VNNI add pairs of products in 16 bits.
Cosines to the fp32 output with half and with full range, when norms were not folded yet:
MobileNetV3-Small 0.995 and 0.892, DistilBERT 0.999 and 0.992; the speed is the same.
"""

from __future__ import annotations

import io
import logging
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.samples import sample
from cpufit.networks.vision.yolo import DECODE

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import Built
    from cpufit.precisions import Precision
    from cpufit.schema import Input, Model, Order

__all__ = [
    "NAME",
    "VERSION",
    "build",
    "estimate_bytes",
    "packages",
    "scratch_bytes",
    "version_of",
]

NAME = "cpufit.artifacts.openvino_ir"
_OWN = 2
VERSION = 100 * graphs.VERSION + _OWN  # other graphs make other IR
_FORMATS: dict[Precision, str] = {
    "fp32": "fp32",
    "int8": "FakeQuantize u8s8 per-channel",
}
_SAMPLES = 8  # of calibration; synthetic activations vary little from sample to sample


def build(order: Order, folder: Path) -> Built:
    """Write `model.xml` and `model.bin` into `folder`: fp32, or quantised to int8 from it.

    OpenVINO computes the one of fp32 in bfloat16 where it is told to as it loads.
    """
    # Without that package neither OpenVINO nor NNCF sends usage statistics.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    scratch = folder / "onnx"
    scratch.mkdir()
    source = graphs.build(replace(order, precision="fp32"), scratch)
    file = folder / "model.xml"
    recipe = f"{source.recipe}; IR by OpenVINO {version('openvino')}"
    for part in sorted(scratch.glob("*.onnx")):
        model = ov.convert_model(part)  # which folds and fuses before NNCF looks at it
        if order.precision == "int8":
            model = _quantize(model, order, source.inputs)
        ov.save_model(model, folder / f"{part.stem}.xml", compress_to_fp16=False)
        del model  # it maps the ONNX file
    if order.precision == "int8":
        recipe += f"; {_recipe(order.model)}"
    shutil.rmtree(scratch)
    return replace(source, file=file, format=_FORMATS[order.precision], recipe=recipe)


def version_of(order: Order) -> int:
    """Return the version of its bytes."""
    return 100 * graphs.version_of(order) + _OWN


def estimate_bytes(order: Order) -> int:
    """Return the size of the weights, which decide the size of the pair of files."""
    return round(order.model.parameters * graphs.BYTES[order.precision])


def scratch_bytes(order: Order) -> int:
    """Return the size of the ONNX file it is made from."""
    return graphs.estimate_bytes(replace(order, precision="fp32"))


def packages(order: Order) -> tuple[str, ...]:
    """Return onnx and openvino, which write the files, and nncf, where it quantises."""
    source = graphs.packages(replace(order, precision="fp32"))
    return (*source, "openvino", "nncf") if order.precision == "int8" else (*source, "openvino")


def _quantize(model: Any, order: Order, inputs: tuple[Input, ...]) -> Any:
    """Quantise activations and weights after training, as OpenVINO's own guide does.

    `_recipe` says how and why in words.
    """
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    nncf.set_log_level(logging.ERROR)
    if order.model.sense:
        return nncf.compress_weights(model)  # by default 8 bits with zero points
    samples = [sample(inputs, index) for index in range(_SAMPLES)]
    encoder = order.model.family == "encoder"
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=_SAMPLES,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if encoder else None,
            # A detector's box arithmetic stays in float, as its users leave it.
            ignored_scope=nncf.IgnoredScope(patterns=[f"{DECODE}.*"], validate=False),
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
        )


def _recipe(model: Model) -> str:
    if model.sense:
        nncf = version("nncf")
        return f"weights compressed to 8 bits per channel with zero points by NNCF {nncf}"
    kind = "transformer" if model.family == "encoder" else "mixed preset"
    return (
        f"post-training quantisation by NNCF {version('nncf')} ({kind}, fast bias correction, "
        f"{_SAMPLES} seeded samples, all weights in half range against 16-bit overflow); "
        "calibrated on the building CPU, so another kind of CPU may give slightly other scales"
    )
