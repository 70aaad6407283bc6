"""Tables word for word in every format, and what they refuse.

`pytest tests/report --regenerate-golden` rewrites the golden files: read their diff.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpufit.errors import CpufitError
from cpufit.tables import table, wish, write
from tests.report import samples
from tests.samples import stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.schema import Record
    from cpufit.tables.figures import Entry
    from cpufit.tables.table import Table

    Make = Callable[..., Table]

GOLDEN = Path(__file__).parent / "golden"
EVIL = "a|b*c_<i>\\`\n&~~"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes a table of records."""

    def made(
        records: Sequence[Record],
        metric: str,
        *where: str,
        rows: str = "model",
        columns: str = "runtime",
    ) -> Table:
        path = tmp_path / "run-1.parquet"
        stored(path, records)
        wished = wish.of_words(["run-1.parquet"], rows, columns, metric, where)
        return table.make(wished, [path], "cpufit table run-1.parquet", 0.99)

    return made


def small() -> list[Record]:
    """Return one-pass models in three processes each, one without, real ones, and failures."""
    found = [r for r in samples.infer_records(64) if r.cell.scenario == "latency"]
    several = [process for record in found[1:] for process in samples.in_processes(record, 3)]
    return [found[0], *several, *samples.unmeasured(), *samples.llm_records(16)]


def entry(made: Table, row: str, column: str) -> Entry:
    return made.entries[made.rows.index((row,))][made.columns.index((column,))]


@pytest.mark.parametrize("name", list(write.FORMATS))
def test_a_format_is_the_golden_one(make: Make, name: str, pytestconfig: pytest.Config) -> None:
    made = make(small(), "latency", columns="runtime,precision")
    text = write.FORMATS[name](made)
    golden = GOLDEN / f"table.{name}"
    if pytestconfig.getoption("--regenerate-golden", default=False):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_the_same_records_in_another_order_give_the_same_table(make: Make) -> None:
    first = write.markdown(make(small(), "latency", "precision=fp32"))
    again = write.markdown(make(small()[::-1], "latency", "precision=fp32"))
    assert first == again


def test_best_is_bold_and_what_cannot_be_told_from_it_is_marked(make: Make) -> None:
    twin = next(r for r in samples.infer_records(64) if r.cell.card == "yolov8n")
    slower = samples.on(twin, "openvino", 1.3)
    near = samples.on(twin, "openvino", 1.01)
    alike = replace(near, cell=replace(near.cell, precision="int8"))
    records = [p for r in (twin, slower, alike) for p in samples.in_processes(r, 5)]
    made = make(records, "latency", columns="runtime,precision")
    (line,) = made.entries
    found = {head: (e.best, e.same) for head, e in zip(made.columns, line, strict=True)}
    assert found == {
        ("onnxruntime", "fp32"): (True, False),
        ("openvino", "fp32"): (False, False),
        ("openvino", "int8"): (False, True),
    }


def test_of_rates_and_cosines_the_largest_is_best(make: Make) -> None:
    made = make(samples.llm_records(16), "tokens/s", columns="precision")
    assert entry(made, "tinyllama-1.1b", "int4").best
    assert entry(made, "tinyllama-1.1b", "int4").words == "25.1 tokens/s"
    made = make(samples.llm_records(16), "cosine", columns="precision")
    assert entry(made, "tinyllama-1.1b", "int8").best
    assert not entry(made, "tinyllama-1.1b", "int4").same  # no matter of chance


def test_of_memory_and_files_the_least_is_best(make: Make) -> None:
    for metric in ("memory", "file"):
        made = make(samples.llm_records(16), metric, columns="precision")
        assert entry(made, "tinyllama-1.1b", "int4").best
        assert not entry(made, "tinyllama-1.1b", "int8").same


def test_one_process_tells_no_difference(make: Make) -> None:
    made = make(samples.llm_records(16), "ttft", columns="precision")
    assert entry(made, "tinyllama-1.1b", "int8").same
    assert "without ±: one process, which tells no difference" in " ".join(made.caption)


def test_too_few_samples_say_so(make: Make) -> None:
    made = make(samples.llm_records(64), "ttft-p90@512", columns="precision")
    assert {e.words for line in made.entries for e in line} == {"n too small", "\u2013"}
    assert "'n too small': too few samples" in " ".join(made.caption)
    made = make(samples.llm_records(64), "ttft-p90", columns="precision")
    assert entry(made, "mistral-7b", "int4").value is not None


def test_real_weights_among_synthetic_ones_are_marked(make: Make) -> None:
    records = [*samples.llm_records(16), samples.real_llm(16)]
    made = make(records, "ttft", "precision=int4", rows="model,weights")
    text = write.markdown(made)
    assert "| smollm2-135m | real | 94.3 ms † |" in text
    assert "Synthetic weights, † real ones." in text


def test_what_was_not_measured_says_why(make: Make) -> None:
    made = make(small(), "ttft", "precision=int4,int8", columns="precision")
    assert entry(made, "llama-2-13b", "int4").words == "oom"
    assert entry(made, "llama-2-13b", "int8").words == "too large"


def test_models_sort_by_parameters_and_precisions_by_bits(make: Make) -> None:
    made = make(samples.llm_records(16), "ttft", columns="precision")
    assert [row for (row,) in made.rows] == [name for name, *_ in samples.LLMS]
    assert made.columns == (("int4",), ("int8",))


def test_of_several_runs_the_newest_counts(make: Make) -> None:
    first = samples.llm_records(16)[0]
    later = samples.scaled(first, 2.0, 1.0, run_id="later", recorded_at="2026-11-21T00:00:00+00:00")
    alone = make([later], "ttft").entries
    assert make([later, first], "ttft").entries == alone
    assert make([first, later], "ttft").entries == alone
    both = make([first, later], "ttft", columns="run")
    assert both.columns == (("20261120-091500-7f3a",), ("later",))


def test_hosts_side_by_side(make: Make) -> None:
    made = make(
        samples.two_hosts(64), "latency", "precision=fp32", "runtime=onnxruntime",
        "scenario=latency", "size=0", columns="host",
    )  # fmt: skip
    assert made.columns == (("ARM Cortex-A72",), (samples.HOST.cpu_model,))
    by_print = make(samples.two_hosts(64), "latency", "host=0f0f0f0f0f0f", "precision=fp32")
    assert by_print.provenance["hosts"] == ["ARM Cortex-A72"]


def test_markup_of_users_stays_text(make: Make) -> None:
    record = replace(
        samples.llm_records(5)[0], cell=replace(samples.llm_records(5)[0].cell, model=EVIL)
    )
    made = make([record], "ttft")
    assert "| a\\|b\\*c\\_\\<i>\\\\\\` &\\~~ |" in write.markdown(made)
    assert "a|b*c_&lt;i&gt;" in write.html(made)
    assert "a|b*c\\_<i>\\textbackslash{}`" in write.latex(made)
    (line,) = csv.DictReader(io.StringIO(write.comma_separated(made)))
    assert line["model"] == EVIL.replace("\n", " ")
    assert json.loads(write.as_json(made))["cells"][0]["model"] == EVIL.replace("\n", " ")


@pytest.mark.parametrize(
    ("metric", "where", "options", "words"),
    [
        ("", (), {}, "no --metric; give one of latency, ttft"),
        ("tftt", (), {}, "unknown metric 'tftt'; did you mean 'ttft'?"),
        ("memory-p90", (), {}, "memory has no percentiles; give --metric memory"),
        ("latency@8", (), {}, "latency has no prompt length; give --metric latency"),
        ("ttft", ("precision",), {}, "--where 'precision' asks for nothing"),
        ("ttft", ("prec=int4",), {}, "unknown field of --where 'prec'; did you mean 'precision'?"),
        ("ttft", ("precision=int3",), {}, "unknown precision in these results 'int3'"),
        ("ttft", (), {"rows": "modle"}, "unknown field of --rows 'modle'; did you mean 'model'?"),
        ("ttft", (), {"columns": "model"}, "model is in --rows and in --cols; name it once"),
        ("latency", (), {}, "no cell of these has latency; there are: tokens/s, tpot, ttft@128"),
        ("energy", (), {}, "no cell of these has energy"),
        (
            "ttft", (), {},
            "2 cells fall into one place (smollm2-135m llama.cpp), with precision int4 and int8; "
            "choose, such as --where precision=int4, or put precision into --rows or --cols",
        ),
        (
            "ttft", ("precision=int8", "model=mistral-7b", "model=gpt2"), {},
            "unknown model in these results 'gpt2'",
        ),
        (
            "ttft", ("precision=int8", "model=mistral-7b"), {},
            "no cell has precision=int8 and model=mistral-7b; ask for less with --where",
        ),
    ],
)  # fmt: skip
def test_words_that_cannot_be_meant(
    make: Make, metric: str, where: tuple[str, ...], options: dict[str, str], words: str
) -> None:
    with pytest.raises(CpufitError) as caught:
        make(samples.llm_records(8), metric, *where, **options)
    assert words in str(caught.value)


def test_a_row_that_mixes_what_does_not_compare_is_refused(make: Make) -> None:
    twin = next(r for r in samples.infer_records(64) if r.cell.card == "yolov8n")
    other = samples.on(twin, "openvino", 0.5)
    coarse = replace(other, cell=replace(other.cell, precision="int8"))
    with pytest.raises(CpufitError, match="the row of yolov8n would mix, with precision fp32 and"):
        make([twin, coarse], "latency")
    assert make([twin, coarse], "latency", columns="runtime,precision").columns
    fed = replace(other, cell=replace(other.cell, inputs="sr=16000"))
    with pytest.raises(CpufitError, match=r"would mix, with inputs .*sr=16000"):
        make([twin, fed], "latency")


def test_a_run_in_two_files_counts_once(tmp_path: Path) -> None:
    twin = next(r for r in samples.infer_records(64) if r.cell.card == "yolov8n")
    paths = [tmp_path / name for name in ("run-1.parquet", "copy.parquet")]
    for path in paths:
        stored(path, samples.in_processes(twin, 4))
    wished = wish.of_words(["x"], "model", "runtime", "latency", ())
    once, twice = (table.make(wished, some, "again", 0.99) for some in (paths[:1], paths))
    assert once.entries == twice.entries
    assert once.entries[0][0].processes == 4


def test_runs_that_are_named_are_all_kept(make: Make) -> None:
    twin = next(r for r in samples.infer_records(64) if r.cell.card == "yolov8n")
    records = [twin, replace(twin, run_id="later")]
    with pytest.raises(CpufitError, match="with run "):
        make(records, "latency", f"run={twin.run_id},later")


def test_an_empty_place_keeps_its_weights_in_csv(make: Make) -> None:
    made = make(small(), "latency", columns="weights,runtime,precision")
    lines = list(csv.DictReader(io.StringIO(write.comma_separated(made))))
    assert {line["weights"] for line in lines} == {"synthetic", "real"}


def test_files_behind_where_are_told_to_come_first() -> None:
    with pytest.raises(CpufitError) as caught:
        wish.of_words([], "model", "runtime", "latency", ["precision=int4", "run-1.parquet"])
    assert caught.value.remedy == "name files before --where"


def test_the_caption_names_what_neither_rows_nor_columns_do(make: Make) -> None:
    """A figure depends on its scenario and threads: a reader must not have to guess them."""
    plain = make(small(), "latency", columns="runtime,precision")
    assert "Scenario latency; threads 4." in plain.caption
    assert plain.provenance["conditions"]["threads"] == [4]
    named = make(small(), "latency", "scenario=latency", columns="runtime,precision,threads")
    assert not [words for words in named.caption if "threads 4" in words or "Scenario" in words]
