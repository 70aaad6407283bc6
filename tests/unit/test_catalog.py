"""Model cards: those that ship, and the mistakes in a user's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cpufit.catalog import load_models, read_cards
from cpufit.catalog.cards import model_of_file
from cpufit.catalog.checks import ARCHITECTURES, check
from cpufit.errors import DataError, UsageError
from cpufit.networks import encoder_counts
from cpufit.networks.decoder import tensors
from cpufit.store.sane import sane
from tests.samples import RECORD

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.schema import Model

LLM = """
[mine]
title = "Mine"
family = "llm"
source = "my notes"
[mine.decoder]
arch = "llama"
layers = 2
hidden = 64
ffn = 96
heads = 4
kv_heads = 2
head_dim = 16
vocab = 100
context = 64
"""
ENCODER = """
[enc]
title = "Enc"
family = "encoder"
source = "my notes"
[enc.encoder]
layers = 2
hidden = 64
ffn = 96
heads = 4
vocab = 100
positions = 64
sequence = 32
"""


def _read(folder: Path, text: str) -> dict[str, Model]:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return read_cards(path)


def test_every_card_that_ships_is_right_and_complete() -> None:
    models = load_models()
    assert all(card.parameters and card.macs for card in models.values())
    assert {card.decoder.arch for card in models.values() if card.decoder} == set(ARCHITECTURES)


def test_distilled_models_name_their_teachers() -> None:
    found = {name: card.parent for name, card in load_models().items() if card.parent}
    assert found == {"distilgpt2": "gpt2", "distilbert": "bert-base"}


def test_counts_of_encoders_are_published_ones() -> None:
    found = {
        name: encoder_counts.parameters(card.encoder)
        for name, card in load_models().items()
        if card.encoder
    }
    assert found["bert-base"] == 109_482_240
    assert found["distilbert"] == 66_362_880
    assert found["all-minilm-l6-v2"] == 22_713_216


def test_counts_of_a_card_of_ones_own_are_computed(tmp_path: Path) -> None:
    found = _read(tmp_path, LLM + ENCODER)
    assert list(found) == ["mine", "enc"]
    assert found["mine"].decoder
    assert found["mine"].parameters == tensors.parameters(found["mine"].decoder) == 74_560
    assert found["mine"].macs == 74_560 - 6400 - 5 * 64  # without the embedding and the norms
    assert found["enc"].encoder
    assert found["enc"].parameters == encoder_counts.parameters(found["enc"].encoder)
    assert found["enc"].macs == 2 * (32 * (4 * 64 * 64 + 2 * 64 * 96) + 2 * 32 * 32 * 64)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kv_heads = 2", "kv_heads = 3", "mine.decoder.heads: 4 is no multiple of kv_heads 3"),
        ("kv_heads = 2", "kv_heads = 0", "mine.decoder.kv_heads: 0 is not a size, give 1 to"),
        ("head_dim = 16", "head_dim = 15", "mine.decoder.head_dim: 15 is odd, rotation needs"),
        ("layers = 2", "layers = -2", "mine.decoder.layers: -2 is not a size, give 1 to 1,000"),
        ("layers = 2", "layers = 2000000000", "layers: 2000000000 is not a size, give 1 to 1,000"),
        ("vocab = 100", "vocab = 1e30", "mine.decoder.vocab"),
        ("layers = 2", 'layers = "two"', "mine.decoder.layers: "),
        ('"my notes"', '" "', "mine.source: is empty, say where the numbers come from"),
        ('source = "my notes"', "", "mine.source: missing"),
        ('arch = "llama"', 'arch = "lama"', "unknown architecture 'lama', did you mean 'llama'?"),
        ('family = "llm"', 'family = "vision"', "mine.family: is 'vision', a card with decoder"),
        ("[mine.decoder]", "parameters = 7\n[mine.decoder]", "mine.parameters: 7 given, the shap"),
        ("[mine.decoder]", "macs = 7\n[mine.decoder]", "mine.macs: 7 given, the shapes have 67"),
        ("[mine.decoder]", 'parent = "gpt3"\n[mine.decoder]', "unknown model 'gpt3', did you mean"),
        ("[mine.decoder]", 'file = "x"\n[mine.decoder]', "mine.file: leave it out"),
        ("[mine.decoder]", 'name = "x"\n[mine.decoder]', "mine.name: is the table's own"),
        ("context = 64", "context = 64\nfused_ffn = true\ngated = false", "fused_ffn: joins gate"),
        ("context = 64", "context = 64\nsliding_window = -1", "sliding_window: -1 is not a number"),
        ("context = 64", "context = 64\nlowrank = 1", "mine.decoder.lowrank: 1 is no divisor"),
        ("context = 64", "context = 64\nnorm_eps = 0.0", "norm_eps: 0 is not above 0"),
        ("context = 64", "context = 64\nrope_base = nan", "rope_base: nan is not above 0"),
        ("context = 64", "context = 64\ncolour = 1", "colour: unknown key"),
        (
            "context = 64",
            "context = 64\nrope_scaling = { factor = 2, low = 4, high = 1, original = 9 }",
            "rope_scaling.low: 4 is not below high 1",
        ),
        ("mine", '"mi/ne"', "use letters, digits"),
        ("mine", '"mi@ne"', "use letters, digits"),
        ("mine", "gpt2", "gpt2: a card of that name ships; give it another name"),
    ],
)
def test_a_decoder_that_cannot_be(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        _read(tmp_path, LLM.replace(old, new))
    assert message in str(error.value)
    assert str(tmp_path / "mine.toml") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("heads = 4", "heads = 3", "enc.encoder.hidden: 64 is no multiple of heads 3"),
        ("sequence = 32", "sequence = 65", "enc.encoder.sequence: 65 is more than positions 64"),
        ("sequence = 32", "sequence = 0", "enc.encoder.sequence: 0 is not a size"),
        ("sequence = 32", "types = -1", "enc.encoder.types: -1 is not a number of rows"),
        ('family = "encoder"', 'family = "llm"', "enc.family: is 'llm', a card with encoder"),
    ],
)
def test_an_encoder_that_cannot_be(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        _read(tmp_path, ENCODER.replace(old, new))
    assert message in str(error.value)


def test_all_mistakes_of_all_cards_are_said_at_once(tmp_path: Path) -> None:
    text = LLM.replace("layers = 2", "layers = 0").replace("kv_heads = 2", "kv_heads = 3")
    with pytest.raises(UsageError) as error:
        _read(tmp_path, text + ENCODER.replace("heads = 4", "heads = 7"))
    for field in ("mine.decoder.layers", "mine.decoder.heads", "enc.encoder.hidden"):
        assert field in str(error.value)


def test_a_card_describes_one_model(tmp_path: Path) -> None:
    both = LLM + ENCODER[ENCODER.index("[enc.encoder]") :].replace("enc.", "mine.")
    with pytest.raises(UsageError, match=r"mine\.encoder: stands beside a decoder, keep one"):
        _read(tmp_path, both)
    with pytest.raises(UsageError, match=r"mine\.decoder: missing, describe the model in one of"):
        _read(tmp_path, LLM.split("[mine.decoder]")[0])


def test_a_vision_card_must_say_its_counts(tmp_path: Path) -> None:
    text = """
[eye]
title = "Eye"
family = "vision"
source = "me"
[eye.vision]
builder = "yolov8n"
resolution = 320
classes = 80
"""
    with pytest.raises(UsageError, match=r"eye\.parameters: give them and macs"):
        _read(tmp_path, text)


def test_files_that_hold_no_cards(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no card; describe a model in a table"):
        _read(tmp_path, "")
    with pytest.raises(UsageError, match="is a suite, no model card; cpufit run --suite"):
        _read(tmp_path, "title = 'x'\n[[cells]]\nmodels = []\n")
    with pytest.raises(UsageError, match="describes no model; a card is a table"):
        _read(tmp_path, "title = 'x'\n")
    with pytest.raises(DataError, match="no file"):
        read_cards(tmp_path / "none.toml")


def test_packaged_weights_are_for_cards_that_ship(tmp_path: Path) -> None:
    real = """
[mine.real]
package = "p"
version = "1"
member = "m"
sha256 = "0"
licence = "l"
precision = "int4"
format = "Q4_1"
"""
    with pytest.raises(UsageError, match=r"mine\.real: cards of your own have synthetic weights"):
        _read(tmp_path, LLM + real)


def test_a_parent_may_be_a_card_of_the_same_file(tmp_path: Path) -> None:
    text = LLM.replace("[mine.decoder]", 'parent = "enc"\n[mine.decoder]')
    assert _read(tmp_path, text + ENCODER)["mine"].parent == "enc"


def test_a_shipped_card_with_wrong_counts_is_refused() -> None:
    card = load_models()["gpt2"]
    with pytest.raises(UsageError) as error:
        check({"gpt2": replace(card, parameters=124_000_000)}, {"gpt2"}, "llm.toml")
    assert str(error.value) == (
        "llm.toml: gpt2.parameters: 124,000,000 given, the shapes have 124,439,808, "
        "correct one of them"
    )


@pytest.mark.parametrize("name", ["two\nlines", "a\tb", "turned\u202e", "bytes\udce9", "x" * 240])
def test_a_file_is_called_as_results_keep_it(tmp_path: Path, name: str) -> None:
    """Else its cell would never be found again, and a run never be whole."""
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(b"")
    model = model_of_file(path)
    kept = sane(replace(RECORD, cell=replace(RECORD.cell, model=model.name)))
    assert kept.cell.card == model.card
