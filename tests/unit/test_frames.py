"""What happens to a camera's frame before and after the inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.catalog import load_models
from cpufit.errors import UnsupportedError
from cpufit.measuring import camera
from cpufit.schema import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.runtimes.inputs import Array

MODELS = load_models()


class Session:
    """Inputs to be filled and outputs to be read; nothing computes."""

    settings: dict[str, str] = {}  # noqa: RUF012 - the protocol's
    notes: tuple[str, ...] = ()

    def __init__(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
        self._inputs, self._outputs = inputs, outputs

    def inputs(self) -> dict[str, Array]:
        return self._inputs

    def outputs(self) -> dict[str, Array]:
        return self._outputs


def around(name: str, side: int, **outputs: Array) -> tuple[camera.Surroundings, Array]:
    images = np.full((1, 3, side, side), np.nan, np.float32)
    session = Session({"images": images}, outputs)
    return camera.around(MODELS[name], session), images  # type: ignore[arg-type]


def test_the_frame_is_always_the_same() -> None:
    frame = camera.draw_frame()
    assert frame.shape == (720, 1280, 3)
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, camera.draw_frame())
    assert frame.std() > 20


def test_a_classifier_gets_the_normalised_middle() -> None:
    stages, images = around("mobilenet-v2", 224)
    stages.before()
    assert np.isfinite(images).all()
    assert abs(images.mean()) < 1
    assert 0.3 < images.std() < 2
    # The middle of the frame is the middle of the picture: 224 of 256 pixels of the short side.
    middle = camera.draw_frame()[360, 640] / 255
    scaled = (middle - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(images[0, :, 112, 112], scaled, atol=0.1)


def test_a_detector_gets_the_whole_frame_between_grey_bars() -> None:
    stages, images = around("yolov8n", 640)
    stages.before()
    assert np.all(images[0, :, :140] == np.float32(114 / 255))
    assert np.all(images[0, :, 500:] == np.float32(114 / 255))
    inside = images[0, :, 140:500]
    assert inside.shape == (3, 360, 640)
    assert 0 <= inside.min() < inside.max() <= 1
    np.testing.assert_allclose(inside[:, 0, 0], camera.draw_frame()[0, 0] / 255, atol=0.02)


def test_the_likeliest_classes_come_first() -> None:
    logits = np.zeros((1, 1000), np.float32)
    logits[0, [3, 7, 11]] = [5, 9, 7]
    stages, _ = around("mobilenet-v2", 224, output=logits)
    found = stages.after()
    assert isinstance(found, list)
    assert [index for index, _ in found[:3]] == [7, 11, 3]
    assert len(found) == 5
    assert found[0][1] > found[1][1]


def test_boxes_of_yolov8_come_back_in_pixels_of_the_frame() -> None:
    table = np.zeros((1, 84, 8400), np.float32)
    table[0, :4, 10] = [320, 320, 64, 36]  # the middle of 640 x 640
    table[0, 4 + 17, 10] = 0.9
    table[0, :4, 11] = [322, 321, 64, 36]  # the same thing again
    table[0, 4 + 17, 11] = 0.8
    stages, _ = around("yolov8n", 640, output=table)
    found = np.asarray(stages.after())
    np.testing.assert_allclose(found[0], [576, 324, 704, 396, 0.9, 17], atol=1e-3)
    assert not np.any(np.isclose(found[:, 4], 0.8))


def test_scores_of_yolov5_count_as_far_as_there_is_an_object() -> None:
    table = np.zeros((1, 25200, 85), np.float32)
    table[0, :, 2:4] = 1
    table[0, 5] = [100, 200, 20, 20, 0.5, *[0] * 79, 0.8]
    stages, _ = around("yolov5s", 640, output=table)
    found = np.asarray(stages.after())
    assert found[0, 4] == pytest.approx(0.4)
    assert found[0, 5] == 79


@pytest.mark.parametrize(
    ("shape", "dtype", "highest"),
    [
        ((1, 3, 48, 320), np.float32, 1.0),
        ((2, 64, 96, 3), np.uint8, 255),
        ((1, 1, 32, 32), np.float16, 1.0),
    ],
)
def test_the_whole_frame_goes_into_a_file_of_the_users(
    shape: tuple[int, ...], dtype: type, highest: float
) -> None:
    target: Array = np.zeros(shape, dtype)
    answer = np.ones(3)
    session = Session({"mask": np.ones((1, 8)), "x": target}, {"y": answer})
    own = Model(
        name="m", title="m", family="vision", parameters=0, macs=0, source="t", file="m.onnx"
    )
    stages = camera.around(own, session)  # type: ignore[arg-type]
    stages.before()
    assert 0 <= target.min() < target.max() <= highest
    assert target.std() > highest / 20
    assert stages.after() == {"y": answer}
    assert "not interpreted" in stages.notes[0]
    with pytest.raises(UnsupportedError, match="looks at no camera frames"):
        camera.around(own, Session({"ids": np.ones((1, 8))}, {}))  # type: ignore[arg-type]


def test_a_model_without_pictures_is_told_so() -> None:
    with pytest.raises(UnsupportedError, match="looks at no camera frames"):
        around("distilbert", 8)


@given(
    st.lists(st.tuples(*[st.integers(0, 20)] * 4), max_size=30),
    st.sampled_from((0.1237, 0.4567, 0.7891)),
)
def test_what_is_kept_overlaps_nothing_better(
    corners: list[tuple[int, int, int, int]], overlap: float
) -> None:
    boxes = np.array([[x, y, x + w + 1, y + h + 1] for x, y, w, h in corners], np.float32).reshape(
        -1, 4
    )
    kept = set(camera.suppress(boxes, overlap).tolist())
    for row, box in enumerate(boxes):
        better = [_shared(box, boxes[other]) for other in kept if other < row]
        assert (row in kept) == all(share <= overlap for share in better)


def _shared(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.clip(sides, 0, None)))
    whole = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]))
    return shared / (whole - shared)
