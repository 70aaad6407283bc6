"""Procedures on a clock that only work moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.errors import UnsupportedError
from cpufit.measuring import procedures, sampling
from cpufit.measuring.bench import Bench
from cpufit.measuring.probe import median_half_width
from cpufit.measuring.procedures import energy
from cpufit.measuring.procedures.base import requests
from cpufit.measuring.procedures.frames import time_frames, whole_frame
from cpufit.measuring.slices import Turns, time_slices
from cpufit.runtimes.base import Step, Work
from cpufit.schema import Budget, Cell, Model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.measuring.probe import Measured, Probe
    from cpufit.precisions import Precision
    from cpufit.runtimes.base import LoadOptions
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Family, Scenario, Task

MS = 1_000_000
PRECISION: Precision = "int4"
BUDGET = Budget(
    name="test",
    title="",
    half_width=0.05,
    processes=(2, 5),
    samples=128,
    process_s=(1, 4),
    cell_s=12,
    warmup_s=0.5,
    timeout_s=60,
)


@dataclass
class Playing:
    """A session and its clock: each step costs what the test says, and is logged."""

    cost_ms: dict[str, float]
    now_ns: int = 0
    log: list[str] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def clock(self) -> int:
        return self.now_ns

    def prepare(self, step: Step) -> Work:
        name = f"prefill{step.tokens}" if step.kind == "prefill" else step.kind
        self.log.append(f"prepare {name}")

        def run() -> None:
            self.log.append(name)
            self.now_ns += round(self.cost_ms[name] * MS)

        return Work(run=run, items=step.tokens if step.kind == "prefill" else 1)

    def inputs(self) -> Mapping[str, Array]:
        return {}

    def outputs(self) -> Mapping[str, Array]:
        return {}

    def close(self) -> None:
        self.log.append("close")


def _cell(batch: int = 1) -> Cell:
    return Cell(
        model="m", precision=PRECISION, runtime="fake", scenario="s", threads=2, batch=batch
    )


def _scenario(procedure: str = "latency") -> Scenario:
    return procedures.from_wire({"name": "s", "title": "", "procedure": procedure})


def _model(task: Task) -> Model:
    family: Family = "llm" if task == "generate" else "vision"
    return Model(name="m", title="", family=family, parameters=0, macs=0, source="")


def _bench(
    session: Playing, task: Task, procedure: str = "latency", cell: Cell | None = None
) -> Bench:
    return Bench(
        session=session,
        cell=cell or _cell(),
        model=_model(task),
        scenario=_scenario(procedure),
        budget=BUDGET,
        clock=session.clock,
        say=session.log.append,
        meter=dict,
    )


def _probes(session: Playing, task: Task) -> list[Probe]:
    return requests(_bench(session, task), "latency", "ttft", "tpot")


def _options(procedure: str, task: Task, cell: Cell | None = None) -> LoadOptions:
    return procedures.procedure(procedure).options(cell or _cell(), _scenario(procedure), task)


def _generate(cost_ms: dict[str, float]) -> tuple[Playing, list[Probe], Measured]:
    bench = Playing(cost_ms)
    found = _probes(bench, "generate")
    return bench, found, sampling.time_session(found, BUDGET, bench.clock, lambda _: None)


def _frames(cost_ms: dict[str, float]) -> Measured:
    bench = Playing(cost_ms)
    stages = {name: bench.prepare(Step(kind=name)).run for name in cost_ms}  # type: ignore[arg-type]
    return time_frames(stages, BUDGET, bench.clock, lambda _: None)


def test_a_frame_is_the_sum_of_its_stages() -> None:
    measured = _frames({"encode": 1, "infer": 4, "decode": 2})
    series = {found.name: found.values for found in measured.series}
    assert list(series) == ["encode", "infer", "decode", "frame"]
    assert {len(values) for values in series.values()} == {143}  # a second of frames of 7 ms
    assert set(series["infer"]) == {4.0 * MS}
    assert set(series["frame"]) == {7.0 * MS}
    assert measured.first_ns == 7 * MS
    assert measured.valid


def _sliced(
    bench: Playing, found: list[Probe], turns: int = 4
) -> dict[tuple[str, int], tuple[float, ...]]:
    said: list[tuple[float, ...]] = []

    def turned(slices_ns: Sequence[float]) -> None:
        bench.log.append("slice")
        said.append(tuple(slices_ns))

    due = Turns(0.05, range(turns + 1), turned)  # the first is a rehearsal
    measured = time_slices(found, BUDGET, due, bench.clock, bench.log.append)
    assert said[1:] == [*zip(*(series.values for series in measured.series), strict=True)]
    return {(series.name, series.size): series.values for series in measured.series}


def test_a_slice_of_tokens_lasts_as_long_as_its_prompt_which_is_a_sample_too() -> None:
    bench = Playing({"prefill128": 400, "prefill512": 1600, "decode": 10})
    found = _probes(bench, "generate")
    series = _sliced(bench, found)
    assert series[("ttft", 128)] == (400.0 * MS,) * 4
    assert series[("ttft", 512)] == (1600.0 * MS,) * 4
    assert series[("tpot", 1)] == (10.0 * MS,) * 4
    turn = bench.log[bench.log.index("ready") + 1 : bench.log.index("slice")]
    assert turn.count("decode") == 40  # 400 ms
    assert (turn.count("prefill128"), turn.count("prefill512")) == (1, 1)


def test_a_slice_of_frames_does_every_stage() -> None:
    bench = Playing({"encode": 1, "infer": 4, "decode": 2})
    stages = {name: bench.prepare(Step(kind=name)).run for name in bench.cost_ms}  # type: ignore[arg-type]
    assert _sliced(bench, [whole_frame(stages)]) == {("frame", 1): (7.0 * MS,) * 4}


def test_a_scenario_for_other_models_is_refused() -> None:
    scenario = replace(_scenario(), tasks=("describe",))
    with pytest.raises(UnsupportedError, match="this is one of the language models"):
        procedures.procedure("latency").check(scenario, _model("generate"))
    with pytest.raises(UnsupportedError, match="m looks at no camera frames"):
        procedures.procedure("frames").check(_scenario("frames"), _model("generate"))
    procedures.procedure("latency").check(_scenario(), _model("generate"))


def test_frames_end_at_the_cap() -> None:
    measured = _frames({"infer": 300})
    assert len(measured.series[0].values) == 14  # 4 s
    assert not measured.valid


def test_a_fast_model_is_sampled_for_the_whole_minimum() -> None:
    bench = Playing({"infer": 5})
    found = _probes(bench, "infer")
    measured = sampling.time_session(found, BUDGET, bench.clock, lambda _: None)
    (series,) = measured.series
    assert series.name == "latency"
    assert set(series.values) == {5.0 * MS}
    assert 1000 / 5 <= len(series.values) <= 1000 / 5 + 100 / 5
    assert measured.valid
    assert measured.stop.startswith("enough samples")
    assert measured.first_ns == 5 * MS


def test_warm_up_ends_once_times_are_steady_and_is_not_sampled() -> None:
    bench = Playing({"infer": 5})
    found = _probes(bench, "infer")
    sampling.warm_up(found, BUDGET, bench.clock)
    assert bench.now_ns == (1 + 10) * 5 * MS  # one window that is as the first run
    assert found[0].values == []


def test_warm_up_ends_with_its_time_where_times_never_settle() -> None:
    bench = Playing({"infer": 5})
    found = _probes(bench, "infer")
    start = found[0].start

    def faster() -> Work:
        bench.cost_ms["infer"] *= 0.9
        return start()

    found[0].start = faster
    sampling.warm_up(found, BUDGET, bench.clock)
    assert 500 * MS <= bench.now_ns <= 600 * MS


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=200))
def test_the_width_of_a_median_is_a_share_of_it(values: list[float]) -> None:
    width = median_half_width(values)
    assert 0 <= width <= (max(values) - min(values)) / 2 / sorted(values)[len(values) // 2]
    assert median_half_width([7.0] * len(values)) == 0


def test_counters_are_of_one_item() -> None:
    bench = Playing({"infer": 5})
    (probe,) = _probes(bench, "infer")
    probe.meter = lambda: {"instructions": bench.now_ns / MS * 1000}  # a thousand in each ms
    measured = sampling.time_session([probe], BUDGET, bench.clock, lambda _: None)
    assert measured.counters == {"instructions of latency at 1": pytest.approx(5000)}


def test_a_slow_model_ends_at_the_cap_and_is_not_valid() -> None:
    bench = Playing({"infer": 700})
    found = _probes(bench, "infer")
    measured = sampling.time_session(found, BUDGET, bench.clock, lambda _: None)
    assert 2 <= len(measured.series[0].values) <= 6
    assert not measured.valid


def test_the_slowest_model_gives_a_sample_of_what_the_cell_lets_start() -> None:
    _, _, measured = _generate({"prefill128": 5000, "prefill512": 20000, "decode": 130})
    counts = {(s.name, s.size): len(s.values) for s in measured.series}
    assert counts == {("ttft", 128): 1, ("tpot", 1): 31}
    assert measured.stop == "the 4 s of a process were over"
    assert measured.notes == (
        "ttft at 512 tokens was not sampled: one request would outlast the 12 s that a cell may "
        "take",
    )
    assert not measured.valid


def test_a_request_of_a_slow_model_is_cut_after_the_cap() -> None:
    _, _, measured = _generate({"prefill128": 5000, "prefill512": 20000, "decode": 1400})
    assert {s.name: len(s.values) for s in measured.series} == {"ttft": 1, "tpot": 3}
    _, _, measured = _generate({"prefill128": 5000, "prefill512": 20000, "decode": 400})
    assert {s.name: len(s.values) for s in measured.series} == {"ttft": 1, "tpot": 11}


def test_what_is_slow_leaves_the_time_to_what_is_not() -> None:
    _, _, measured = _generate({"prefill128": 25, "prefill512": 300, "decode": 2})
    counts = {(s.name, s.size): len(s.values) for s in measured.series}
    assert counts["ttft", 512] == 4  # what fits into a third of four seconds
    assert counts["ttft", 128] >= 53
    assert counts["tpot", 1] >= 64


def test_each_series_holds_only_its_own_step() -> None:
    bench, _, measured = _generate({"prefill128": 20, "prefill512": 80, "decode": 3})
    values = {(s.name, s.size): set(s.values) for s in measured.series}
    assert values == {
        ("ttft", 128): {20.0 * MS},
        ("ttft", 512): {80.0 * MS},
        ("tpot", 1): {3.0 * MS},
    }
    first_token = bench.log.index("decode")
    assert bench.log[first_token - 2 : first_token] == ["prefill128", "prepare decode"]


def test_throughput_names_what_it_measures() -> None:
    names = ("batch", "prefill", "decode")
    session = Playing({"prefill128": 20, "prefill512": 80, "decode": 3, "infer": 9})
    tokens = requests(_bench(session, "generate", "throughput", _cell(4)), *names)
    assert [(p.name, p.size, p.items) for p in tokens] == [
        ("prefill", 128, 128),
        ("prefill", 512, 512),
        ("decode", 4, 4),
    ]
    (batch,) = requests(_bench(session, "infer", "throughput", _cell(8)), *names)
    assert (batch.name, batch.size) == ("batch", 8)


def test_load_options_hold_prompt_and_generation() -> None:
    options = _options("throughput", "generate", _cell(4))
    assert (options.goal, options.batch) == ("throughput", 4)
    assert options.context_tokens == 512 + 64
    assert _options("latency", "infer").context_tokens == 0


def test_memory_has_room_for_a_longer_text() -> None:
    table = {"name": "s", "title": "", "procedure": "memory", "context_tokens": 1024}
    scenario = procedures.from_wire(table)
    options = procedures.procedure("memory").options(_cell(), scenario, "generate")
    assert options.context_tokens == 1024


@given(st.floats(0.2, 9000), st.floats(0.2, 9000), st.floats(0.2, 400))
def test_sampling_always_ends_with_some_of_each(a: float, b: float, c: float) -> None:
    bench, _, measured = _generate({"prefill128": a, "prefill512": b, "decode": c})
    assert all(series.values for series in measured.series)
    assert {"ttft", "tpot"} == {series.name for series in measured.series}
    longest = max(a, b, a + 64 * c) * MS
    assert bench.now_ns <= (0.5 + 12) * 1e9 + 8 * longest


def test_memory_does_one_full_request() -> None:
    session = Playing({"prefill512": 80, "prefill128": 1, "decode": 3})
    measured = procedures.procedure("memory").measure(_bench(session, "generate", "memory"))
    assert measured.series == ()
    assert session.log.count("decode") == 64
    assert measured.first_ns == 1 * MS


def test_energy_counts_the_work_and_neither_idle_nor_preparation() -> None:
    """A meter of 30 W, 10 of them idle: 20 W x 5 ms = 0.1 J per token, whatever prompts cost."""
    bench = Playing({"prefill128": 50, "prefill512": 50, "decode": 5})
    found = _probes(bench, "generate")
    series = energy.energy(
        found, BUDGET, lambda: 30 * bench.now_ns / 1e9, idle_w=10, clock=bench.clock
    )
    by_name = {(s.name, s.size): s for s in series}
    assert set(by_name) == {("energy_ttft", 128), ("energy_ttft", 512), ("energy_tpot", 1)}
    assert by_name["energy_tpot", 1].values == pytest.approx([0.1] * 5)
    assert by_name["energy_ttft", 128].values == pytest.approx([20 * 0.05 / 128] * 5)


@pytest.mark.parametrize(
    ("context", "prompts", "after", "words"),
    [
        (0, (128, 512), 64, ""),  # nobody says
        (576, (128, 512), 64, ""),
        (575, (128,), 64, "no prompt of 512 tokens: with 64 tokens after it, the model's context"),
        (191, (144,), 47, "a prompt of 144 tokens and 47 after it, not of 128 and 512"),
        (64, (48,), 16, "the model's context of 64 has no room"),
        (2, (1,), 1, "a prompt of 1 tokens and 1 after it"),
    ],
)
def test_what_fits_a_short_context_is_measured(
    context: int, prompts: tuple[int, ...], after: int, words: str
) -> None:
    scenario = _scenario()
    found, notes = procedures.procedure("latency").fitted(scenario, context)
    assert (found.prompt_tokens, found.generate_tokens) == (prompts, after)
    assert bool(notes) == bool(words)
    assert not notes or words in notes[0]


def test_a_cache_is_no_longer_than_the_context() -> None:
    procedure = procedures.procedure("memory")
    table = {"name": "m", "title": "", "procedure": "memory", "context_tokens": 1024}
    scenario = procedures.from_wire({**table, "prompt_tokens": [128], "generate_tokens": 16})
    found, notes = procedure.fitted(scenario, 300)
    assert procedure.options(_cell(), found, "generate").context_tokens == 300
    assert notes == ("the KV cache holds the model's whole context of 300 tokens",)
    assert procedure.fitted(scenario, 2048) == (scenario, ())
