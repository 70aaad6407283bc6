"""Models that write about a picture or sound, on every runtime that has them."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.runtimes.decoders import TINY, generate, relative

from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.config import load_settings
from cpufit.errors import UnavailableError, UnsupportedError
from cpufit.paths import data_root
from cpufit.plan.request import Plan
from cpufit.plan.scenarios import load_scenarios
from cpufit.run.stages import Place, Road, run_cell
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.runtimes.engine import Engine
from cpufit.runtimes.llama_cpp.parts import check_sight
from cpufit.schema import Cell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.precisions import Precision
    from cpufit.runtimes.base import Session
    from cpufit.schema import Artifact, Model

ORT = pytest.param("onnxruntime", marks=pytest.mark.onnxruntime)
OPENVINO = pytest.param("openvino", marks=pytest.mark.openvino)
LLAMA = pytest.param("llama.cpp", marks=pytest.mark.llama_cpp)
PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "llama.cpp": "llama_cpp"}
IDS = (5, 7, 11, 13)


def writer() -> Model:
    """Return the trimmed BLIP with a decoder of one layer and few words."""
    model = pick("blip-mobilevit")
    assert model.writer
    return replace(model, name="w", writer=replace(model.writer, layers=1, vocab=100))


def decoder() -> Model:
    """Return MiniGPT-4 with a tiny language model behind its eyes."""
    return replace(pick("minigpt4-light"), name="d", decoder=replace(TINY, context=256))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def made(model: Model, precision: Precision, runtime: str, folder: Path) -> Artifact:
    pytest.importorskip(PACKAGES[runtime])
    request = order_of(model, precision, runtime, "synthetic", folder)
    return cache.make(request, folder)


def opened(model: Model, precision: Precision, runtime: str, folder: Path, **o: Any) -> Session:
    options = LoadOptions(threads=2, context_tokens=32, prompt_tokens=8, **o)
    return load_runtime(runtime).load(made(model, precision, runtime, folder), options)


@pytest.mark.parametrize("runtime", [ORT, OPENVINO])
@pytest.mark.parametrize(("model", "precision"), [(writer(), "fp32"), (decoder(), "fp32")])
def test_a_text_in_one_go_is_a_text_word_by_word(
    model: Model, precision: Precision, runtime: str, folder: Path
) -> None:
    with closing(opened(model, precision, runtime, folder)) as session:
        whole = generate(session, IDS)
        assert relative(generate(session, IDS[:1], IDS[1:]), whole) < 1e-4
        assert whole.std() > 0.01


@pytest.mark.parametrize("runtime", [ORT, OPENVINO])
@pytest.mark.parametrize("model", [writer(), decoder()])
def test_what_is_written_depends_on_the_picture(model: Model, runtime: str, folder: Path) -> None:
    with closing(opened(model, "fp32", runtime, folder)) as session:
        (picture,) = session.inputs().values()
        before = generate(session, IDS)
        picture[:] = picture[..., ::-1].copy()
        assert relative(generate(session, IDS), before) > 1e-3


@pytest.mark.onnxruntime
@pytest.mark.openvino
@pytest.mark.parametrize("model", [writer(), decoder()])
def test_the_runtimes_write_the_same(model: Model, folder: Path) -> None:
    found = []
    for runtime in ("onnxruntime", "openvino"):
        with closing(opened(model, "fp32", runtime, folder)) as session:
            found.append(generate(session, IDS[:2], IDS[2:]))
    assert relative(found[1], found[0]) < 1e-4


@pytest.mark.parametrize("runtime", [ORT, OPENVINO])
def test_int8_stays_near(runtime: str, folder: Path) -> None:
    """The output layer shares the embedding: quantised they need a copy each."""
    found = []
    for precision in ("fp32", "int8"):
        with closing(opened(writer(), precision, runtime, folder)) as session:
            found.append(generate(session, IDS))
    assert relative(found[1], found[0]) < 0.15


@pytest.mark.parametrize("runtime", [ORT, OPENVINO, LLAMA])
@pytest.mark.parametrize("precision", ["int4"])
def test_a_language_model_sees_on_every_runtime(
    precision: Precision, runtime: str, folder: Path
) -> None:
    with closing(opened(decoder(), precision, runtime, folder)) as session:
        session.prepare(Step(kind="encode")).run()
        logits = generate(session, IDS, IDS)
        assert logits.shape == (1, TINY.vocab)
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("runtime", [ORT, OPENVINO])
def test_the_encoder_can_be_run_alone_and_nothing_else(runtime: str, folder: Path) -> None:
    with closing(opened(writer(), "fp32", runtime, folder)) as session:
        assert session.prepare(Step(kind="encode")).items == 1
        with pytest.raises(UnsupportedError, match="infer"):
            session.prepare(Step(kind="infer"))


@pytest.mark.parametrize("runtime", [ORT, OPENVINO, LLAMA])
def test_one_picture_at_a_time(runtime: str, folder: Path) -> None:
    with pytest.raises(UnsupportedError, match="one at a time"):
        opened(decoder(), "int4", runtime, folder, batch=2)


# ------------------------------------------------------------------------------- without libmtmd
@pytest.fixture
def blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Return a function that puts a llama-cpp-python without libmtmd before the installed one."""

    def hide() -> Path:
        package = tmp_path / "packages" / "llama_cpp"
        (package / "lib").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "lib" / "libllama.so").touch()
        monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
        monkeypatch.syspath_prepend(package.parent)
        return package

    return hide


def test_libmtmd_is_found_beside_libllama(blind: Callable[[], Path]) -> None:
    library = blind() / "lib" / "libmtmd.so"
    with pytest.raises(UnavailableError, match="built without libmtmd"):
        check_sight()
    library.touch()
    check_sight()


def test_the_remedy_is_that_of_the_environment(
    blind: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    blind()
    monkeypatch.setattr(sys, "prefix", str(data_root() / ".venv"))
    with pytest.raises(UnavailableError, match=r"; make sight$"):
        check_sight()
    monkeypatch.setattr(sys, "prefix", "/usr")
    with pytest.raises(UnavailableError, match=r"; pip install .* llama-cpp-python$"):
        check_sight()


def test_make_has_the_remedy() -> None:
    rules = (data_root() / "Makefile").read_text(encoding="utf-8")
    assert "\nsight: .venv/sight\n" in rules


def test_nothing_is_built_for_a_model_that_llama_cpp_could_not_show_a_picture(
    blind: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blind()
    monkeypatch.setattr(Engine, "version", "1")
    model, settings = pick("minigpt4-light"), load_settings()
    cell = Cell(
        model=model.name, precision="int4", runtime="llama.cpp", scenario="caption", threads=1
    )
    plan = Plan(
        cells=(cell,),
        models={model.name: model},
        scenarios=load_scenarios(),
        budget=settings.budgets["rapid"],
        levels=settings.levels,
    )
    place = Place(output=tmp_path / "out", cache=tmp_path / "cache")
    outcome = run_cell(cell, Road(plan=plan, place=place, say=print)).outcome
    assert outcome.why == (
        "unavailable: this llama.cpp is built without libmtmd, which shows it pictures"
    )
    assert outcome.remedy
    assert not (tmp_path / "cache").exists()


@pytest.mark.llama_cpp
def test_a_file_with_a_picture_says_what_is_missing(
    folder: Path, blind: Callable[[], Path]
) -> None:
    artifact, runtime = made(decoder(), "int4", "llama.cpp", folder), load_runtime("llama.cpp")
    blind()
    with pytest.raises(UnavailableError, match="built without libmtmd"):
        runtime.load(artifact, LoadOptions(threads=2, context_tokens=32, prompt_tokens=8))
