"""How near a precision is to float32: the sample, the cosine, and what a run makes of a check."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cpufit import store
from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import load_models, pick
from cpufit.config import load_settings
from cpufit.errors import UnavailableError
from cpufit.measuring import finite, numerics
from cpufit.networks.decoder.reference import reference_logits
from cpufit.networks.decoder.tensors import parameters
from cpufit.plan.request import Plan
from cpufit.plan.scenarios import load_scenarios
from cpufit.run import child, flow
from cpufit.runtimes.engine import Engine
from cpufit.schema import Artifact, Cell, Numerics, Outcome
from tests.samples import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.analysis import Row
    from cpufit.precisions import Precision
    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Job, Model, Record, Weights

LANGUAGE = [model for model in load_models().values() if model.decoder]
ARTIFACT = Artifact(key="k", path=__file__, size_bytes=1, parameters=1, format="f", recipe="r")
FOUND = Numerics(cosine=0.9, what="w")
Vectors = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8).map(np.array)


def cell(model: str, precision: Precision, runtime: str, weights: Weights = "synthetic") -> Cell:
    return Cell(
        model=model,
        precision=precision,
        runtime=runtime,
        scenario="latency",
        threads=1,
        weights=weights,
    )


# ------------------------------------------------------------------------------------- the cosine
@given(x=Vectors, factor=st.floats(0.01, 100))
def test_a_vector_points_the_way_its_multiples_do(x: Array, factor: float) -> None:
    assume(np.linalg.norm(x) > 1e-3)
    assert numerics.cosine(x, factor * x) == pytest.approx(1)
    assert numerics.cosine(x, -factor * x) == pytest.approx(-1)


@given(x=Vectors, y=Vectors)
def test_a_cosine_lies_between_minus_one_and_one(x: Array, y: Array) -> None:
    size = min(len(x), len(y))
    assert abs(numerics.cosine(x[:size], y[:size])) <= 1 + 1e-9


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_what_points_nowhere_is_as_far_as_can_be(bad: float) -> None:
    assert numerics.cosine(np.array([bad, bad]), np.array([1.0, 2.0])) == 0.0


def test_what_is_no_number_is_said_and_left_out() -> None:
    one = np.array([1.0, np.nan, 2.0])
    assert numerics.cosine(one, one) == pytest.approx(1)
    assert numerics.cosine(one, np.array([1.0, 5.0, 2.0])) == 0.0
    outputs = {"y": one, "ids": np.arange(3), "z": np.array([np.inf, 0], np.float16)}
    assert finite.remarks(outputs) == (
        "output y: 1 of 3 numbers are NaN or infinite",
        "output z: 1 of 2 numbers are NaN or infinite",
    )


def test_outputs_that_are_all_empty_are_noted() -> None:
    nothing, some = np.zeros((0, 6), np.float32), np.zeros(3, np.float32)
    (note,) = finite.remarks({"boxes": nothing, "scores": nothing[:, 0]})
    assert note.startswith("all outputs are empty")
    assert finite.remarks({"boxes": nothing, "mask": some}) == ()
    assert finite.remarks({}) == ()


def test_float16_outputs_do_not_overflow() -> None:
    large = np.full(1000, 60_000, np.float16)
    assert numerics.cosine(large, large) == pytest.approx(1)


# -------------------------------------------------------------------------------------- the sample
@pytest.mark.parametrize("model", LANGUAGE, ids=lambda model: model.name)
def test_a_sample_keeps_all_but_its_size(model: Model) -> None:
    small = numerics.sample(model)
    card, cut = model.decoder, small.decoder
    assert card is not None
    assert cut is not None
    assert small.name == f"{model.name}-sample"
    assert small.parameters == parameters(cut) < 20_000_000
    sizes = {"layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "context", "embedding_scale"}
    for field in fields(card):
        if field.name not in sizes:
            assert getattr(cut, field.name) == getattr(card, field.name)
    assert (cut.kv_heads == 1) == (card.kv_heads == 1)
    if card.kv_heads > 1:
        assert cut.heads / cut.kv_heads == card.heads / card.kv_heads
    for width in ("hidden", "ffn"):
        assert getattr(cut, width) % 256 == getattr(card, width) % 256
        assert getattr(cut, width) <= min(getattr(card, width), 1536)
    whole, part = (d.heads * d.head_dim == d.hidden for d in (card, cut))
    assert part or not whole
    if card.embedding_scale != 1:
        assert cut.embedding_scale / card.embedding_scale == pytest.approx(
            (cut.hidden / card.hidden) ** 0.5
        )
    assert (cut.heads - card.heads) * card.head_dim % 256 == 0
    assert 2 <= cut.heads <= card.heads


# --------------------------------------------------------------------------------- what is checked
@pytest.mark.parametrize(
    ("model", "precision", "runtime", "weights", "expected"),
    [
        ("tinyllama-1.1b", "int4", "llama.cpp", "synthetic", True),
        ("tinyllama-1.1b", "int4", "fake", "synthetic", False),
        ("tinyllama-1.1b", "fp32", "onnxruntime", "synthetic", False),
        ("smollm2-135m", "int4", "llama.cpp", "real", False),  # there is this one file only
        ("mobilenet-v3-small", "int8", "openvino", "synthetic", True),
        ("mobilenet-v3-small", "fp32", "openvino", "synthetic", False),
        ("efficientnet-lite0", "int8", "onnxruntime", "real", True),
        ("distilbert", "int8", "llama.cpp", "synthetic", True),
        ("pp-ocrv4-det", "fp32", "onnxruntime", "real", False),
    ],
)
def test_what_has_a_float32_to_compare_with_is_checked(
    model: str, precision: Precision, runtime: str, weights: Weights, expected: bool
) -> None:
    assert numerics.applies(cell(model, precision, runtime, weights), pick(model)) is expected


def test_a_users_own_file_is_not_checked() -> None:
    own = replace(pick("tinyllama-1.1b"), file="/mine.gguf")
    assert not numerics.applies(cell("mine", "int4", "llama.cpp", "real"), own)


class Answering:
    """A runtime whose sessions give what `answer` makes of the step."""

    def __init__(self, answer: Callable[[Artifact, Step], dict[str, Array]]) -> None:
        self._answer = answer
        self.closed = 0

    def load(self, artifact: Artifact, options: LoadOptions) -> Answering:
        self._artifact = artifact
        return self

    def prepare(self, step: Step) -> Any:
        self._step = step
        return self

    def run(self) -> None:
        self._found = self._answer(self._artifact, self._step)

    def outputs(self) -> dict[str, Array]:
        return self._found

    def close(self) -> None:
        self.closed += 1


def stub(monkeypatch: pytest.MonkeyPatch, engine: Answering) -> None:
    """Leave building and running to `engine`; an artifact's key is its model and precision."""
    monkeypatch.setattr(numerics, "load_runtime", lambda name: engine)
    monkeypatch.setattr(numerics, "order_of", lambda model, precision, *rest: (model, precision))
    monkeypatch.setattr(
        cache,
        "make",
        lambda order, *rest: replace(ARTIFACT, key=f"{order[0].name}-{order[1]}"),
    )


def test_logits_are_held_against_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pick("smollm2-135m")
    small = numerics.sample(model)
    steps: list[Step] = []

    def exact(artifact: Artifact, step: Step) -> dict[str, Array]:
        steps.append(step)
        assert artifact.key == "smollm2-135m-sample-int4"
        assert small.decoder is not None
        return {"logits": reference_logits(small.name, small.decoder, step.ids)[None]}

    engine = Answering(exact)
    stub(monkeypatch, engine)
    found = numerics.check(cell("smollm2-135m", "int4", "llama.cpp"), model, ARTIFACT, Path("/no"))
    assert found.cosine == pytest.approx(1)
    assert "sample of the architecture (2 layers, 5.02 M parameters)" in found.what
    assert engine.closed == 1
    assert steps[0].kind == "prefill"
    assert len(steps[0].ids) == len(set(steps[0].ids)) == steps[0].tokens == 32


def test_all_common_outputs_of_a_whole_model_count(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones((1, 4), np.float32)
    exact = {"a": ones, "b": ones, "only": ones}
    rounded = {"b": -ones, "a": ones}
    stub(monkeypatch, Answering(lambda made, _: exact if made.key == "yolov8n-fp32" else rounded))
    found = numerics.check(cell("yolov8n", "int8", "openvino"), pick("yolov8n"), ARTIFACT, Path())
    assert found == Numerics(
        cosine=0.0, what="outputs of the whole model, against float32 on openvino"
    )


def test_without_a_runtime_for_float32_nothing_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise UnavailableError(f"{name} is not installed", "pip install it")

    monkeypatch.setattr(numerics, "load_runtime", missing)
    card = pick("distilbert")
    with pytest.raises(UnavailableError, match="onnxruntime is not installed"):
        numerics.check(cell("distilbert", "int8", "llama.cpp"), card, ARTIFACT, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.onnxruntime
def test_a_real_int8_graph_is_near_and_a_broken_one_is_not(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model, wanted = pick("mobilenet-v3-small"), cell("mobilenet-v3-small", "int8", "onnxruntime")
    request = order_of(model, "int8", "onnxruntime", "synthetic", tmp_path)
    artifact = cache.make(request, tmp_path)
    assert 0.99 < numerics.check(wanted, model, artifact, tmp_path).cosine < 0.9999
    other = replace(model, name="other")  # another seed
    request = order_of(other, "fp32", "onnxruntime", "synthetic", tmp_path)
    strange = cache.make(request, tmp_path)
    assert numerics.check(wanted, model, strange, tmp_path).cosine < 0.9


@pytest.mark.llama_cpp
@pytest.mark.parametrize(("precision", "lowest"), [("fp16", 0.999), ("int8", 0.99), ("int4", 0.8)])
def test_a_real_language_model_is_near(precision: Precision, lowest: float, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    wanted = cell("smollm2-135m", precision, "llama.cpp")
    found = numerics.check(wanted, pick("smollm2-135m"), ARTIFACT, tmp_path)
    assert lowest < found.cosine < 1


# --------------------------------------------------------------------------- what a run makes of it
class Children:
    """Answers every job a run asks of a child; `check` says what comes of a check."""

    def __init__(self, check: Callable[[Job], child.Reply]) -> None:
        self._check = check
        self.jobs: list[Job] = []

    def ask(
        self,
        job: Job,
        timeout_s: float,
        on_stage: Callable[[str], None],
        interpreter: child.Interpreter = child.HERE,
    ) -> child.Reply:
        self.jobs.append(job)
        if job.task == "check":
            assert Path(job.cache).is_dir()
            return self._check(job)
        if job.task == "make":
            return child.Reply(artifact=ARTIFACT)
        return child.Reply(outcome=Outcome(status="ok", notes=("n",)))

    @property
    def tasks(self) -> list[str]:
        return [job.task for job in self.jobs]


class Nobody:
    """Watches nothing."""

    def planned(self, plan: Plan, done: Sequence[Record]) -> None: ...
    def started(self, cell: Cell) -> None: ...
    def stage(self, text: str) -> None: ...
    def finished(self, row: Row) -> None: ...
    def rounded(self) -> None: ...


@pytest.fixture
def go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[Record], Children]]:
    """Return a function that runs cells of a small language model with made-up children."""
    settings = load_settings()

    def run(
        check: Callable[[Job], child.Reply], *precisions: Precision, done: tuple[Record, ...] = ()
    ) -> tuple[list[Record], Children]:
        children = Children(check)
        monkeypatch.setattr(child, "ask", children.ask)
        monkeypatch.setattr(Engine, "version", "1")
        cells = tuple(
            replace(cell("smollm2-135m", precision, "llama.cpp"), scenario=scenario)
            for precision in precisions
            for scenario in ("latency", "memory")
        )
        plan = Plan(
            cells=cells,
            models=load_models(),
            scenarios=load_scenarios(),
            budget=settings.budgets["rapid"],
            levels=settings.levels,
        )
        results = store.create(tmp_path / "out" / "run-1.parquet", "{}")
        place = flow.Place(output=tmp_path / "out", cache=tmp_path / "cache")
        flow.go(flow.Run(plan, cells, results, done), place, Nobody())
        return store.read([results.path]), children

    return run


def test_a_precision_is_checked_once_before_it_is_measured(go: Any) -> None:
    records, children = go(lambda job: child.Reply(numerics=FOUND), "int4", "int8")
    assert children.tasks == ["make", "check", "measure", "make", "measure"] * 2
    assert [record.outcome.numerics for record in records] == [FOUND] * 4
    assert {record.outcome.notes for record in records} == {("n",)}


def test_a_check_that_fails_is_a_note_and_the_cell_goes_on(go: Any) -> None:
    refused = Outcome(status="unavailable", reason="onnxruntime is not installed")
    records, children = go(lambda job: child.Reply(outcome=refused), "int4")
    assert children.tasks == ["make", "check", "measure", "make", "measure"]
    for record in records:
        assert record.outcome.status == "ok"
        assert record.outcome.numerics is None
        assert "numerics not checked: onnxruntime is not installed" in record.outcome.notes


def test_a_check_with_a_bug_keeps_its_traceback(go: Any, tmp_path: Path) -> None:
    died = child.Reply(outcome=Outcome(status="failed", reason="code 1"), log="Traceback: x")
    records, _ = go(lambda job: died, "int4")
    (log,) = (tmp_path / "out").glob("*.log")
    assert log.read_text(encoding="utf-8") == "Traceback: x"
    assert records[0].outcome.status == "ok"
    assert f"the check's last words: {log.name}" in records[0].outcome.notes


def test_ctrl_c_leaves_no_sample_behind(go: Any) -> None:
    scratch: list[Path] = []

    def interrupted(job: Job) -> child.Reply:
        scratch.append(Path(job.cache))
        (scratch[0] / "half").write_text("made")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(interrupted, "int4")
    assert not scratch[0].exists()


def test_what_an_earlier_run_found_is_not_asked_again(go: Any) -> None:
    wanted = replace(cell("smollm2-135m", "int4", "llama.cpp"), threads=7)
    earlier = replace(RECORD, cell=wanted, outcome=replace(RECORD.outcome, numerics=FOUND))
    records, children = go(lambda job: child.Reply(), "int4", done=(earlier,))
    assert "check" not in children.tasks
    assert [record.outcome.numerics for record in records] == [FOUND] * 2
