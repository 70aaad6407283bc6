"""Model files of the user's own: links of hubs, names, and several files of one name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import model_of_file
from cpufit.errors import UsageError
from cpufit.plan.own import called_apart, told_apart
from cpufit.plan.request import Request, resolve
from cpufit.plan.selection import Selection
from cpufit.pytest_plugin import asked

FAKE = Selection(runtimes=("fake",), scenarios=("memory",))


def hub(folder: Path, *names: str) -> Path:
    """Lay files out as a hub's cache has them: named links to blobs without a suffix."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, name in enumerate(names):
        (blobs / f"d2f0a{number}").write_text("{}")
        (snapshot / name).symlink_to(f"../../blobs/d2f0a{number}")
    return snapshot


def test_a_link_has_its_own_name_and_suffix(tmp_path: Path) -> None:
    file = hub(tmp_path, "net.timings") / "net.timings"
    plan = resolve(Request(files=(str(file),), selection=FAKE))
    assert [(cell.model, cell.runtime) for cell in plan.cells] == [("net", "fake")]
    assert plan.models["net"].file == str(file)


def test_links_to_links_and_relative_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hub(tmp_path, "net.timings") / "net.timings"
    (tmp_path / "again").symlink_to(first)
    (tmp_path / "mine.timings").symlink_to("again")
    monkeypatch.chdir(tmp_path)
    model = model_of_file(Path("mine.timings"))
    assert (model.name, model.title, model.file) == (
        "mine",
        "mine.timings",
        str(tmp_path / "mine.timings"),
    )


def test_a_marked_test_takes_a_link(tmp_path: Path) -> None:
    file = hub(tmp_path, "net.timings") / "net.timings"
    words = asked.parse((str(file),), {"runtime": "fake"}, tmp_path)
    assert asked.wanted(words, everything=True).model.name == "net"


def test_the_neighbours_of_a_link_are_its_own(tmp_path: Path) -> None:
    """OpenVINO's weights and a hub's ONNX weights: 2 bytes each, as the model itself."""
    folder = hub(tmp_path, "a.timings", "a.bin", "a.timings_data")
    order = order_of(model_of_file(folder / "a.timings"), "fp32", "fake", "real", tmp_path)
    assert cache.make(order, tmp_path / "cache").size_bytes == 6


def test_another_blob_behind_a_link_is_another_artifact(tmp_path: Path) -> None:
    file = hub(tmp_path, "a.timings", "b.timings") / "a.timings"
    order = order_of(model_of_file(file), "fp32", "fake", "real", tmp_path)
    before = cache.key_of(order)
    file.unlink()
    file.symlink_to("../../blobs/d2f0a1")
    assert cache.key_of(order) != before


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = [tmp_path / folder / "model.timings" for folder in ("p", "q")]
    for file in files:
        file.parent.mkdir()
        file.write_text("{}")
    plan = resolve(Request(files=tuple(map(str, files)), selection=FAKE))
    assert [cell.model for cell in plan.cells] == ["p-model.timings", "q-model.timings"]
    assert [model.title for model in plan.models.values()] == ["p/model.timings", "q/model.timings"]
    assert told_apart(files) == ["p/model.timings", "q/model.timings"]


@pytest.mark.parametrize(
    ("paths", "called"),
    [
        (["p/net.onnx", "q/mlp.onnx"], ["", ""]),
        (["p/m.onnx", "p/m.xml"], ["m.onnx", "m.xml"]),
        (["p/M.onnx", "q/m.onnx", "r/n.onnx"], ["p/M.onnx", "q/m.onnx", ""]),
        (["a/onnx/m.onnx", "b/onnx/m.onnx"], ["a/onnx/m.onnx", "b/onnx/m.onnx"]),
        (["p/m.onnx", "q/../p/m.onnx"], ["", ""]),
    ],
)
def test_what_files_are_called(paths: list[str], called: list[str]) -> None:
    assert called_apart([Path(path) for path in paths]) == called


NAMES = st.sampled_from(["a", "b", "model"])


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), unique=True, max_size=5))
def test_different_files_never_share_a_name(paths: list[tuple[str, str, str]]) -> None:
    found = [Path("/", *path).with_suffix(".onnx") for path in paths]
    assert len(set(told_apart(found))) == len(found)


def test_one_file_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.timings"
    file.write_text("{}")
    with pytest.raises(UsageError, match=r"net\.timings is named twice; name it once"):
        resolve(Request(files=(str(file), str(file)), selection=FAKE))


@pytest.mark.parametrize("name", ["net@v2", "what?size=big", "net?", "a b"])
def test_a_name_holds_nothing_that_separates(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.timings"
    file.write_text("{}")
    (cell,) = resolve(Request(files=(str(file),), selection=FAKE)).cells
    assert (cell.variant, cell.size) == ("", 0)
    assert not set(cell.model) & set("/@?")
