"""Published weights: the checkpoint reader, and that the rebuilt graph really recognises things."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.real import locate
from cpufit.artifacts.torch_pickle import read
from cpufit.catalog import load_models
from cpufit.errors import DataError, UnavailableError
from cpufit.networks.families import graph_of
from cpufit.networks.sources import Stored
from cpufit.paths import cache_root
from cpufit.schema import Order

if TYPE_CHECKING:
    from io import BufferedWriter

    from numpy.typing import NDArray

    from cpufit.precisions import Precision

HEADER = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
MILITARY_UNIFORM = 652  # of ImageNet's 1000 classes


@dataclass(frozen=True)
class Ref:
    """A reference to a storage, as PyTorch pickles it."""

    dtype: str
    key: str
    count: int


class Tensor:
    """Pickles itself as a call of PyTorch's rebuilding function."""

    def __init__(self, ref: Ref, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.args: tuple[Any, ...] = (ref, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.args


class Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        if isinstance(value, Ref):
            kind = getattr(sys.modules["torch"], value.dtype)
            return ("storage", kind, value.key, "cpu", value.count, None)
        return None


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for PyTorch, so that pickle writes its names."""
    package, utils = ModuleType("torch"), ModuleType("torch._utils")

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
        "torch._utils",
        "_rebuild_tensor_v2",
    )
    vars(utils)["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        vars(package)[name] = type(name, (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", package)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def save(
    file: Path, content: object, storages: dict[str, NDArray[Any]], header: tuple[Any, ...] = HEADER
) -> Path:
    def dump(out: BufferedWriter, value: object) -> None:
        Pickler(out, protocol=2).dump(value)

    with file.open("wb") as out:
        for part in (*header, content, sorted(storages)):
            dump(out, part)
        for key in sorted(storages):
            out.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    return file


VALUES = np.arange(12, dtype=np.float32)
REF = Ref("FloatStorage", "7", 12)


@pytest.mark.usefixtures("torch")
def test_reads_strided_views_and_drops_counters(tmp_path: Path) -> None:
    content = OrderedDict(
        row=Tensor(REF, 0, (3, 4), (4, 1)),
        turned=Tensor(REF, 0, (4, 3), (1, 4)),
        tail=Tensor(REF, 10, (2,), (1,)),
        scalar=Tensor(REF, 3, (), ()),
        counter=Tensor(Ref("LongStorage", "9", 1), 0, (), ()),
    )
    storages: dict[str, NDArray[Any]] = {"7": VALUES, "9": np.array([5], np.int64)}
    found = read(save(tmp_path / "f.pth", content, storages))
    assert list(found) == ["row", "turned", "tail", "scalar"]
    np.testing.assert_array_equal(found["row"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(found["turned"], VALUES.reshape(3, 4).T)
    np.testing.assert_array_equal(found["tail"], [10, 11])
    assert found["scalar"] == 3


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.usefixtures("torch")
def test_refuses_code_and_does_not_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = save(tmp_path / "f.pth", OrderedDict(w=Evil()), {})
    with pytest.raises(DataError, match=r"asks for posix\.mkdir"):
        read(file)
    assert not (tmp_path / "evil").exists()


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(REF, 0, (13,), (1,)),
        Tensor(REF, 12, (1,), (1,)),
        Tensor(REF, -1, (1,), (1,)),
        Tensor(REF, 4, (2,), (-1,)),
        Tensor(REF, 0, (-2, 2), (1, 1)),
        Tensor(REF, 0, (2, 2), (1,)),
        Tensor(Ref("FloatStorage", "8", 12), 0, (2,), (1,)),
        Tensor(Ref("HalfStorage", "7", 12), 0, (2,), (1,)),
    ],
)
def test_refuses_views_outside_their_storage(tensor: Tensor, tmp_path: Path) -> None:
    file = save(tmp_path / "f.pth", OrderedDict(w=tensor), {"7": VALUES})
    with pytest.raises(DataError, match="fetch it again"):
        read(file)


@pytest.mark.usefixtures("torch")
def test_refuses_other_files(tmp_path: Path) -> None:
    content = OrderedDict(w=Tensor(REF, 0, (12,), (1,)))
    whole = save(tmp_path / "whole.pth", content, {"7": VALUES}).read_bytes()
    assert list(read(tmp_path / "whole.pth")) == ["w"]
    for name, data in {
        "empty": b"",
        "text": b"not a pickle\n",
        "zip": b"PK\x03\x04" + bytes(100),
        "half": whole[: len(whole) // 2],
        "short": whole[:-1],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)
    with pytest.raises(DataError, match="magic number"):
        read(save(tmp_path / "f.pth", content, {"7": VALUES}, (1, 1001, {})))
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "missing")


# ---------------------------------------------------------------------------------- the real thing
@pytest.fixture(scope="module")
def checkpoint() -> Path:
    try:
        return locate(load_models()["efficientnet-lite0"], cache_root())
    except UnavailableError as error:
        pytest.skip(str(error))


def portrait() -> NDArray[np.float32]:
    """Return matplotlib's portrait of Rear Admiral Grace Hopper as the network wants it."""
    file = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(file) as image:
        width, height = image.size
        top = (height - width) // 2
        square = image.convert("RGB").crop((0, top, width, top + width))
        pixels = np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    return np.asarray((pixels - 127) / 128, np.float32).transpose(2, 0, 1)[None]


def logits(file: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    ort = pytest.importorskip("onnxruntime")
    opened = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = opened.run(None, {"images": image})[0][0]
    return found


def test_every_published_array_is_used(checkpoint: Path) -> None:
    model, arrays = load_models()["efficientnet-lite0"], read(checkpoint)
    graph = graph_of(model, Stored(arrays, "f"))
    assert {array.name for array in graph.drawn} == set(arrays)
    assert graph.parameters == model.parameters


@pytest.mark.onnxruntime
@pytest.mark.parametrize(("precision", "certainty"), [("fp32", 0.35), ("int8", 0.25)])
def test_recognises_a_uniform(
    precision: Precision, certainty: float, checkpoint: Path, tmp_path: Path
) -> None:
    """Symmetric padding would give 0.30 at fp32: the weights want TensorFlow's."""
    model = load_models()["efficientnet-lite0"]
    request = Order(
        builder="onnx.graphs",
        model=model,
        precision=precision,
        runtime="onnxruntime",
        weights="real",
        real_file=checkpoint,
    )
    built = graphs.build(request, tmp_path)
    assert checkpoint.name in built.recipe
    scores = logits(built.file, portrait()).astype(np.float64)
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    assert chances.argmax() == MILITARY_UNIFORM
    assert chances[MILITARY_UNIFORM] > certainty
