"""From a camera's frame to an answer: the work around the inference of a vision model.

What users do in Python: Pillow scales, numpy normalises, and numpy reads the answer out. The frame
is drawn, always the same, since none of this depends on what it shows. Nor may it depend on the
weights: scores of untrained detectors say nothing, so the `_CANDIDATES` best boxes stand in for
those above a threshold.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from cpufit.runtimes.base import Session
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Model
    from cpufit.schema.shapes import Vision

    Pixels = NDArray[np.uint8]
    Floats = NDArray[np.float32]

WIDTH, HEIGHT = 1280, 720
DESCRIPTION = f"{WIDTH} x {HEIGHT} RGB frame, 8 bits"

_GREY = 114  # what detectors are trained to see around an image
_MARGIN = 256 / 224  # classifiers look at the middle of a larger image
_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)  # of ImageNet
_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
_BEST = 5  # classes named
_CANDIDATES = 300
_PICTURE_AXES, _COLOURS = 4, (1, 3)
_OVERLAP = 0.45


class Surroundings(NamedTuple):
    """What happens before and after an inference; neither takes or gives anything."""

    before: Callable[[], None]
    after: Callable[[], object]
    notes: tuple[str, ...] = ()


def around(model: Model, session: Session) -> Surroundings:
    """Return the stages of a model's frames; raise UnsupportedError where it looks at none."""
    inputs = session.inputs()
    if model.file and (picture := _picture(inputs)):
        return _of_file(session, *picture)
    if model.vision is None or "images" not in inputs:
        raise UnsupportedError(
            f"{model.name} looks at no camera frames", "measure it with --scenario latency"
        )
    spec, frame, target = model.vision, draw_frame(), inputs["images"]
    fill = _classifier_input if spec.answer == "classes" else _detector_input
    return Surroundings(
        before=partial(fill, frame, target[0]),
        after=lambda: _ANSWERS[spec.answer](session.outputs(), spec),
    )


def _picture(inputs: Mapping[str, Array]) -> tuple[str, int] | None:
    """Return the first input that takes a picture, and the axis of its colours; None for none."""
    for name, array in inputs.items():
        for axis in (1, 3):
            if array.ndim == _PICTURE_AXES and array.shape[axis] in _COLOURS:
                return name, axis
    return None


def _of_file(session: Session, name: str, colours: int) -> Surroundings:
    """Return the stages of a user's own file, which does not say what its outputs mean."""
    target = session.inputs()[name]
    return Surroundings(
        before=partial(_scaled_input, draw_frame(), target, colours),
        after=session.outputs,
        notes=(f"the frame is scaled to input {name}; outputs are read, but not interpreted",),
    )


def draw_frame() -> Pixels:
    """Return the frame, height x width x 3: large areas and soft edges, as in photographs."""
    cells = np.random.PCG64(0).random_raw(9 * 16 * 3).astype(np.uint8).reshape(9, 16, 3)
    return np.asarray(Image.fromarray(cells).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


# ---------------------------------------------------------------------------------------- before
def _classifier_input(frame: Pixels, target: Floats) -> None:
    """Scale the short side, cut out the middle, normalise: height x width x 3 -> 3 x S x S."""
    side = target.shape[-1]
    image = Image.fromarray(frame)
    scale = round(side * _MARGIN) / min(image.size)
    cut = side / scale
    left, top = (image.width - cut) / 2, (image.height - cut) / 2
    box = (left, top, left + cut, top + cut)
    small = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    planes = np.asarray(small).transpose(2, 0, 1)
    np.divide(planes, 255, out=target)
    target -= _MEAN
    target /= _STD


def _scaled_input(frame: Pixels, target: Array, colours: int) -> None:
    """Scale the whole frame to the input's size: pixels as they are, or 0 to 1 as floats."""
    high, wide = (size for axis, size in enumerate(target.shape) if axis not in (0, colours))
    image = Image.fromarray(frame).convert("L" if target.shape[colours] == 1 else "RGB")
    small = np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR))
    pixels = small.reshape(high, wide, -1)
    planes = pixels.transpose(2, 0, 1) if colours == 1 else pixels
    target[...] = planes if target.dtype.kind in "iu" else planes / np.float32(255)


def _detector_input(frame: Pixels, target: Floats) -> None:
    """Scale the long side, grey above and below: height x width x 3 -> 3 x S x S."""
    side = target.shape[-1]
    scale = side / max(frame.shape[:2])
    high, wide = (round(length * scale) for length in frame.shape[:2])
    small = Image.fromarray(frame).resize((wide, high), Image.Resampling.BILINEAR)
    top, left = (side - high) // 2, (side - wide) // 2
    target[:] = _GREY / 255
    inside = target[:, top : top + high, left : left + wide]
    np.divide(np.asarray(small).transpose(2, 0, 1), 255, out=inside)


# ----------------------------------------------------------------------------------------- after
def _classes(outputs: Mapping[str, Array], _spec: Vision) -> list[tuple[int, float]]:
    """Return the likeliest classes and how likely each is."""
    logits = outputs["output"][0]
    likely = np.exp(logits - logits.max())
    likely /= likely.sum()
    best = np.argpartition(likely, -_BEST)[-_BEST:]
    return [(int(i), float(likely[i])) for i in best[np.argsort(-likely[best])]]


def _yolov8(outputs: Mapping[str, Array], spec: Vision) -> Floats:
    """Read 4 + classes, positions: every position has a box and a score for each class."""
    table = outputs["output"][0]
    return _detections(table[:4].T, table[4:].T, spec)


def _yolov5(outputs: Mapping[str, Array], spec: Vision) -> Floats:
    """Read positions, 5 + classes: scores count as far as there is an object at all."""
    table = outputs["output"][0]
    return _detections(table[:, :4], table[:, 5:] * table[:, 4:5], spec)


def _boxes(outputs: Mapping[str, Array], spec: Vision) -> Floats:
    """Scale what the graph has decided on back to the frame: rows of box, score and class."""
    boxes, scores, labels = (outputs[name][0] for name in ("boxes", "scores", "labels"))
    return np.column_stack([_unscaled(boxes, spec), scores, labels])


def _detections(centres: Floats, scores: Floats, spec: Vision) -> Floats:
    """Return box, score and class of what is left after suppression, in pixels of the frame.

    `centres` are positions x (centre, size), `scores` positions x classes.
    """
    labels = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), labels]
    kept = np.argpartition(best, -_CANDIDATES)[-_CANDIDATES:] if len(best) > _CANDIDATES else ...
    centres, labels, best = centres[kept], labels[kept], best[kept]
    order = np.argsort(-best)
    centres, labels, best = centres[order], labels[order], best[order]
    half = centres[:, 2:] / 2
    corners = np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1)
    left = suppress(corners + (labels * spec.resolution * 2)[:, None], _OVERLAP)
    return np.column_stack([_unscaled(corners[left], spec), best[left], labels[left]])


def suppress(boxes: Floats, overlap: float) -> NDArray[np.intp]:
    """Return the rows of those boxes that overlap no earlier one that is kept.

    Rows are left, top, right, bottom; overlap is intersection over union.
    """
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = areas[:, None] + areas[None, :] - shared
    collides = shared > overlap * union
    alive = np.ones(len(boxes), bool)
    for row in range(len(boxes)):
        if alive[row]:
            alive[row + 1 :] &= ~collides[row, row + 1 :]
    return np.flatnonzero(alive)


def _unscaled(boxes: Floats, spec: Vision) -> Floats:
    """Undo what `_detector_input` did to positions."""
    scale = spec.resolution / max(WIDTH, HEIGHT)
    left, top = ((spec.resolution - round(side * scale)) // 2 for side in (WIDTH, HEIGHT))
    return (boxes - np.array([left, top, left, top], np.float32)) / np.float32(scale)


_ANSWERS: Mapping[str, Callable[[Mapping[str, Array], Vision], object]] = {
    "classes": _classes,
    "yolov8": _yolov8,
    "yolov5": _yolov5,
    "boxes": _boxes,
}
