"""What the terminal says of numerics and of variants."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from cpufit import analysis
from cpufit.report import terminal
from tests.report import samples

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cpufit.schema import Settings


def text(shown: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_a_far_cosine_is_shown_in_its_row_and_listed_at_the_end(settings: Settings) -> None:
    records = samples.infer_records(64)
    rows = analysis.rows(records, settings.levels)
    (bad,) = analysis.inexact(rows)
    assert bad.label == "DistilBERT base INT8 on openvino, synthetic weights"
    assert "cosine 0.9712" in terminal.cell_line(bad)
    assert terminal.cosine(bad).style == "red"
    assert "0.9712" in text(terminal.cell_table(map(terminal.table_line, rows)))
    end = text(terminal.summary(rows, settings))
    assert "Outputs far from float32:" in end
    assert f"{bad.label}: cosine 0.9712, INT8 should keep 0.99" in end


def test_what_was_not_checked_says_nothing(settings: Settings) -> None:
    rows = analysis.rows([samples.real_llm(5)], settings.levels)
    assert "cosine" not in terminal.cell_line(rows[0])
    assert "float32" not in text(terminal.summary(rows, settings))


def test_frames_say_their_stages_and_which_cameras_they_keep_up_with(settings: Settings) -> None:
    for ms, words in (
        (20, "holds 10, 15 and 30 FPS"),
        (46, "holds 10 and 15 FPS, not 30"),
        (400, "does not hold 10 FPS"),
    ):
        (row,) = analysis.rows([samples.frames_record(128, ms)], settings.levels)
        line = terminal.cell_line(row)
        assert f"), {words}, n 128 in 1 process [under]" in line
        assert "(preprocessing " in line
    (row,) = analysis.rows([samples.frames_record(5, 46)], settings.levels)
    assert row.fps_words == "10 and 15 FPS undecided, not 30"


def test_the_encoder_of_a_caption_is_named(settings: Settings) -> None:
    (row,) = analysis.rows([samples.caption_record()], settings.levels)
    assert "encoder alone 6" in terminal.cell_line(row)


def test_a_variant_and_q4_0_are_named(settings: Settings) -> None:
    variant = samples.variants(samples.llm_records(5)[4])[0]
    plain = replace(variant, cell=replace(variant.cell, precision="q4_0"))
    shown = text(
        terminal.cell_table(map(terminal.table_line, analysis.rows([plain], settings.levels)))
    )
    assert "tinyllama-1.1b@ffn60" in shown
    assert "Q4_0" in shown


def test_a_narrow_terminal_gets_lines_and_every_letter() -> None:
    name = "a-model-whose-name-is-long"
    lines = [(name, "vision", "60.2 M", "onnxruntime: fp32, int8"), ("b", "", "1 M", "openvino")]
    shown = terminal.table("", ("model", "family", ">parameters", "runs on"), lines)
    for width in (1, 20, 40, 60, 80, 200):
        console = Console(width=width)
        with console.capture() as capture:
            console.print(shown)
        found = capture.get()
        assert "\N{HORIZONTAL ELLIPSIS}" not in found
        assert name in "".join(found.split())
        assert ("family vision" in " ".join(found.split())) == (width in (20, 40, 60))
    assert "model" in found.splitlines()[0]
