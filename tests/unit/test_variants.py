"""Pruned and factorised forms of a card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.artifacts.onnx import wire
from cpufit.catalog import load_models, pick, standard, with_variants
from cpufit.catalog.names import Name, is_plain, split
from cpufit.catalog.variants import variant_of
from cpufit.errors import UsageError
from cpufit.networks import encoder_counts
from cpufit.networks.decoder import tensors
from cpufit.networks.families import graph_of
from cpufit.networks.sources import Synthetic
from cpufit.networks.widths import keep, rank
from cpufit.schema import Cell, Model
from cpufit.schema.shapes import Decoder, Encoder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

MODELS = load_models()
COMPRESSIBLE = [name for name, model in MODELS.items() if model.decoder or model.encoder]
TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=64,
    ffn=96,
    heads=4,
    kv_heads=2,
    head_dim=16,
    vocab=100,
    context=64,
)


def _tiny(decoder: Decoder) -> Model:
    return Model(
        name="tiny",
        title="Tiny",
        family="llm",
        parameters=tensors.parameters(decoder),
        macs=tensors.macs_per_token(decoder),
        source="test",
        decoder=decoder,
    )


def test_ffn60_of_mistral() -> None:
    model = pick("mistral-7b@ffn60")
    parent = pick("mistral-7b")
    assert parent.decoder
    assert model.decoder == replace(parent.decoder, ffn=8704)  # 34 of 56 steps of 256
    assert model.parameters == parent.parameters - 32 * 3 * 4096 * (14_336 - 8704)
    assert model.macs == parent.macs - 32 * 3 * 4096 * (14_336 - 8704)
    assert (model.name, model.parent) == ("mistral-7b@ffn60", "mistral-7b")
    assert model.title == "Mistral 7B v0.1, FFN 8,704 of 14,336"


def test_depth75_of_mistral() -> None:
    model = pick("mistral-7b@depth75")
    assert model.decoder
    assert model.decoder.layers == 24
    assert model.decoder.kv_bytes_per_token == 24 * 2 * 8 * 128 * 2
    assert model.title == "Mistral 7B v0.1, 24 of 32 layers"


def test_lowrank4_of_mistral_has_about_a_quarter_of_the_linear_weights() -> None:
    model, parent = pick("mistral-7b@lowrank4"), pick("mistral-7b")
    assert model.decoder
    assert model.decoder.lowrank == 4
    head = 4096 * 32_000
    assert model.macs - head == pytest.approx((parent.macs - head) / 4, rel=0.01)


def test_variants_of_an_encoder() -> None:
    spec = pick("bert-base@ffn60").encoder
    assert spec
    assert spec.ffn == 1792  # 1843 rounded to 7 steps of 256
    assert (pick("bert-base@depth75").macs) == pick("bert-base").macs * 3 // 4 + 768 * 768 // 4


def test_a_width_that_256_does_not_divide_keeps_the_power_of_two_that_does() -> None:
    spec = pick("qwen-1.8b@ffn60").decoder
    assert spec
    assert spec.ffn == 3328  # 3302.4 to a multiple of 128, as 5504 = 43 * 128


def test_a_variant_has_synthetic_weights_only() -> None:
    assert pick("smollm2-135m@ffn60").weights == ("synthetic",)


@pytest.mark.parametrize("name", COMPRESSIBLE)
def test_every_model_has_the_standard_variants(name: str) -> None:
    found = standard(MODELS[name])
    assert [model.name for model in found] == [
        f"{name}@{variant}" for variant in ("ffn60", "depth75", "lowrank4")
    ]
    for model in found:
        assert model.parent == name
        assert model.parameters < MODELS[name].parameters
        assert model.macs < MODELS[name].macs


def test_models_of_real_weights_only_have_none() -> None:
    assert standard(pick("pp-ocrv4-det")) == ()


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.vision])
def test_pruned_vision_models_are_smaller_and_keep_their_answers(name: str) -> None:
    parent = MODELS[name]
    third, half = (model for model in standard(parent) if "@prune" in model.name)
    assert [third.name, half.name] == [f"{name}@prune30", f"{name}@prune50"]
    assert half.parameters < third.parameters < parent.parameters
    assert half.macs < third.macs < parent.macs
    # Both sides of most layers lose their share, which counts twice; widths are rounded.
    assert third.macs == pytest.approx(parent.macs * 0.7**2, rel=0.35)
    assert third.vision
    assert third.vision.classes == parent.vision.classes  # type: ignore[union-attr]
    assert third.parent == name
    assert third.title == f"{parent.title}, 30 % of the channels pruned"


def test_pruned_widths_are_multiples_of_8() -> None:
    graph = graph_of(pick("yolov8n@prune30"), Synthetic("m"))
    shapes = {array.name: array.shape for array in graph.arrays if array.name.endswith(".bn.bias")}
    assert len(shapes) == 57
    assert all(width % 8 == 0 for (width,) in shapes.values())
    assert shapes["8.cv2.bn.bias"] == (176,)  # 179.2 of 256
    assert shapes["0.bn.bias"] == (8,)  # 11.2 of 16


def test_a_shortcut_stays_where_the_parent_has_one() -> None:
    """Rounding can make two widths equal that are not so in the parent."""
    for name in ("mobilenet-v2", "mobilenet-v3-small", "mobilenet-v3-large", "mobilevit-xxs"):
        sums = [
            sum(node.op == "Add" for node in graph_of(pick(card), Synthetic("m")).operations)
            for card in (name, f"{name}@prune30", f"{name}@prune50")
        ]
        assert len(set(sums)) == 1, name


# ------------------------------------------------------------------------------------ other sizes
def test_another_size_has_the_same_weights_and_other_work() -> None:
    model, parent = pick("yolov8n?size=320"), pick("yolov8n")
    assert model.vision
    assert model.vision.resolution == 320
    assert model.parameters == parent.parameters
    assert model.macs == parent.macs // 4
    assert model.title == "YOLOv8n at 320 x 320"
    assert model.parent == "yolov8n"


def test_a_variant_can_have_another_size() -> None:
    model = pick("yolov8n@prune30?size=320")
    assert model.name == "yolov8n@prune30?size=320"
    assert model.parent == "yolov8n"
    assert model.macs == pick("yolov8n@prune30").macs // 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolov8n?size=100", "yolov8n cannot take 100 x 100 pixels; use a multiple of 32"),
        ("yolov8n?size=0", "'size=0' is not a size; write yolov8n?size=320"),
        ("yolov8n?width=320", "'width=320' is not a size"),
        ("yolov8n?", "'' is not a size"),
        ("mistral-7b?size=320", "mistral-7b has no input size to choose; leave"),
        ("yolov8n@ffn60", "unknown variant 'ffn60' of yolov8n; known: prune5 to prune90"),
        ("yolov8n@prune99", "unknown variant 'prune99' of yolov8n"),
    ],
)
def test_sizes_and_variants_that_cannot_be(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        pick(name)
    assert message in str(caught.value)


def test_names_come_apart_as_cells_put_them_together() -> None:
    assert split("yolov8n@prune30?size=320") == Name("yolov8n", "prune30", 320)
    assert split("yolov8n") == Name("yolov8n", "", 0)
    assert is_plain("yolov8n")
    assert not is_plain("yolov8n?size=320")
    cell = Cell(
        model="yolov8n", variant="prune30", size=320, precision="fp32", runtime="r", scenario="s",
        threads=1,
    )  # fmt: skip
    assert split(cell.card) == (cell.model, cell.variant, cell.size)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mistal-7b@ffn60", "unknown model 'mistal-7b'; did you mean 'mistral-7b'"),
        ("pp-ocrv4-det@depth75", "pp-ocrv4-det has no variants"),
        ("mistral-7b@", "unknown variant '' of mistral-7b; known: ffn10 to ffn95, depth10"),
        ("mistral-7b@ffn", "unknown variant 'ffn'"),
        ("mistral-7b@ffn9", "unknown variant 'ffn9'"),
        ("mistral-7b@ffn96", "unknown variant 'ffn96'"),
        ("mistral-7b@ffn060", "unknown variant 'ffn060'"),
        ("mistral-7b@FFN60", "unknown variant 'FFN60'"),
        ("mistral-7b@depth100", "unknown variant 'depth100'"),
        ("mistral-7b@lowrank1", "unknown variant 'lowrank1'"),
        ("mistral-7b@lowrank17", "lowrank2 to lowrank16"),
        ("mistral-7b@width50", "unknown variant 'width50'"),
        ("mistral-7b@ffn60@depth75", "unknown variant 'ffn60@depth75'"),
    ],
)
def test_names_that_make_no_variant(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        pick(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("decoder", "variant"),
    [
        (replace(TINY, layers=1), "depth75"),  # everything
        (replace(TINY, layers=1), "depth10"),  # nothing
        (replace(TINY, ffn=256), "ffn95"),
        (replace(TINY, ffn=256), "ffn10"),
        (replace(TINY, hidden=32, heads=1, kv_heads=1, head_dim=32, ffn=32), "lowrank2"),
    ],
)
def test_a_variant_that_would_keep_nothing_or_everything(decoder: Decoder, variant: str) -> None:
    with pytest.raises(UsageError, match=f"tiny@{variant} would keep nothing or everything"):
        variant_of(_tiny(decoder), variant)


def test_only_variants_are_added_to_the_models() -> None:
    found = with_variants(MODELS, ["mistral-7b", "no-such-model", "gpt2@ffn60"])
    assert set(found) - set(MODELS) == {"gpt2@ffn60"}


@given(st.integers(1, 50_000), st.integers(10, 95), st.integers(0, 8))
def test_what_is_kept_is_the_nearest_multiple(whole: int, percent: int, power: int) -> None:
    step = 2**power
    kept = keep(whole, percent, step)
    assert kept % step == 0
    assert abs(kept - whole * percent / 100) <= step / 2
    assert 0 <= kept <= whole + step


@given(
    st.integers(2, 64),
    st.integers(1, 64).map(lambda n: 64 * n),
    st.integers(1, 128).map(lambda n: 32 * n),
    st.one_of(
        st.integers(10, 95).map(lambda n: f"ffn{n}"),
        st.integers(10, 95).map(lambda n: f"depth{n}"),
        st.integers(2, 16).map(lambda n: f"lowrank{n}"),
    ),
)
def test_a_variant_is_smaller_and_counted_from_its_shapes(
    layers: int, hidden: int, ffn: int, variant: str
) -> None:
    parent = _tiny(replace(TINY, layers=layers, hidden=hidden, ffn=ffn))
    try:
        model = variant_of(parent, variant)
    except UsageError as error:
        assert "would keep nothing or everything" in str(error)  # noqa: PT017
        return
    assert model.decoder
    assert 0 < model.parameters < parent.parameters
    assert model.parameters == tensors.parameters(model.decoder)
    assert model.macs == tensors.macs_per_token(model.decoder)
    assert model.decoder.ffn % min(32, ffn) == 0


# ------------------------------------------------------------------------------------ their graphs
SMALL = Encoder(layers=2, hidden=64, ffn=256, heads=4, vocab=50, positions=16, sequence=8, types=2)


class _Merged:
    """Gives a plain encoder the weights of a factorised one, its factors multiplied."""

    def __init__(self) -> None:
        self._source = Synthetic("small")

    def take(self, name: str, shape: tuple[int, ...], std: float, mean: float) -> Array:
        layer, _, kind = name.rpartition(".")
        if not name.startswith("layer.") or layer.endswith("norm"):
            return self._source.take(name, shape, std, mean)
        if kind == "bias":
            return self._source.take(f"{layer}.b.bias", shape, std, mean)
        inner = rank(4, shape[0], shape[1])
        first = self._source.take(f"{layer}.a.weight", (shape[0], inner), shape[0] ** -0.5, 0.0)
        second = self._source.take(f"{layer}.b.weight", (inner, shape[1]), inner**-0.5, 0.0)
        return first @ second


def test_a_factorised_encoder_computes_what_the_product_of_its_factors_does(
    tmp_path: Path,
) -> None:
    ort = pytest.importorskip("onnxruntime")
    feeds = {
        "input_ids": np.arange(8)[None] * 5,
        "attention_mask": np.ones((1, 8), np.int64),
        "token_type_ids": np.zeros((1, 8), np.int64),
    }
    found = []
    for lowrank, source in ((4, Synthetic("small")), (0, _Merged())):
        model = replace(
            pick("distilbert"), name="small", encoder=replace(SMALL, lowrank=lowrank), decoder=None
        )
        wire.write(graph_of(model, source), tmp_path / "model.onnx")
        session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        found.append(session.run(None, feeds)[0])
    assert np.abs(found[0] - found[1]).max() < 1e-4
    assert np.abs(found[0]).max() > 0.5


@pytest.mark.parametrize("variant", ["ffn60", "depth75", "lowrank4", "lowrank2"])
@pytest.mark.parametrize("pooler", [True, False])
def test_the_graph_of_an_encoders_variant_has_the_counts_of_its_card(
    variant: str, pooler: bool
) -> None:
    spec = replace(SMALL, layers=4, ffn=512, pooler=pooler)
    parameters, macs = encoder_counts.parameters(spec), encoder_counts.macs(spec)
    parent = replace(pick("bert-base"), encoder=spec, parameters=parameters, macs=macs)
    for model in (parent, variant_of(parent, variant)):
        graph = graph_of(model, Synthetic("small"))
        assert (graph.parameters, graph.macs) == (model.parameters, model.macs)
