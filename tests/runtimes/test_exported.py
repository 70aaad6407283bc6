"""Users' own language models: ONNX files as exporters write them, measured as what they are."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto
from tests.runtimes.decoders import artifact_of, generate
from tests.runtimes.exports import HEADS, WIDTH, expected, export

from cpufit.artifacts import asis
from cpufit.artifacts.asis import onnx_file
from cpufit.artifacts.routes import route_of
from cpufit.catalog import model_of_file
from cpufit.errors import UnsupportedError
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import About
    from cpufit.runtimes.base import Session

pytestmark = pytest.mark.onnxruntime

IDS = (3, 17, 8, 30, 1, 1, 22, 9)
FORMS: dict[str, dict[str, Any]] = {
    "optimum": {},
    "half": {"cache": TensorProto.FLOAT16},
    "merged": {"more": {"use_cache_branch": (TensorProto.BOOL, [1])}},
    "transformers.js": {"more": {"num_logits_to_keep": (TensorProto.INT64, [])}},
    "other names": {"past": "past_0_", "present": "present_0_"},
}


def about(path: Path) -> About:
    return asis.about(path, model_of_file(path))


def load(path: Path, batch: int = 1) -> Session:
    options = LoadOptions(threads=1, context_tokens=32, prompt_tokens=16, batch=batch)
    return load_runtime("onnxruntime").load(artifact_of(path), options)


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_those_of_the_whole_text_however_it_is_cut(tmp_path: Path, form: str) -> None:
    with closing(load(export(tmp_path / "model.onnx", **FORMS[form]))) as session:
        for cut in (len(IDS), 5, 1):
            found = generate(session, IDS[:cut], IDS[cut:])
            np.testing.assert_allclose(found, expected(IDS)[None], rtol=0.02, atol=0.02)


def test_a_prompt_is_handed_to_several_sequences(tmp_path: Path) -> None:
    with closing(load(export(tmp_path / "model.onnx"), batch=3)) as session:
        found = generate(session, IDS[:5], IDS[5:], sequences=3)
        np.testing.assert_allclose(found, np.tile(expected(IDS), (3, 1)), rtol=1e-3, atol=1e-3)


def test_what_is_no_tensor_of_many_texts_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="takes 1 text at a time, 4 do not fit"):
        load(export(tmp_path / "model.onnx", batch=1), batch=4)


def test_it_is_known_by_its_graph(tmp_path: Path) -> None:
    path = export(tmp_path / "model.onnx", cache=TensorProto.FLOAT16)
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 64}', encoding="utf-8")
    known = about(path)
    assert (known.family, known.context_tokens) == ("llm", 64)
    built = onnx_file.inspect(path, model_of_file(path))
    assert built.inputs == ()
    assert built.kv_bytes_per_token == 2 * HEADS * WIDTH * 2
    assert built.notes == ("a prompt computes the logits of all its tokens, as the file has them",)
    model = asis.known(model_of_file(path), known)
    assert model.task == "generate"
    with pytest.raises(
        UnsupportedError, match=r"openvino keeps no cache .*; run it on onnxruntime"
    ):
        route_of(model, known.precision, "openvino", "real")


@pytest.mark.parametrize(
    ("folder", "settings", "context"),
    [
        (".", ("genai_config.json", '{"model": {"context_length": 99}}'), 99),
        ("onnx", ("config.json", '{"text_config": {"n_positions": 77}}'), 77),
        (".", ("config.json", '{"max_position_embeddings": "many"}'), 0),
        (".", ("config.json", "[1"), 0),
        (".", ("other.json", "{}"), 0),
    ],
)
def test_its_context_is_what_lies_beside_says(
    tmp_path: Path, folder: str, settings: tuple[str, str], context: int
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / settings[0]).write_text(settings[1], encoding="utf-8")
    assert about(export(tmp_path / folder / "model.onnx")).context_tokens == context


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"more": {"encoder_hidden_states": (TensorProto.FLOAT, [1])}}, "model with an encoder"),
        ({"more": {"inputs_embeds": (TensorProto.FLOAT, [1])}}, "part of a model that sees"),
        ({"more": {"cache_length": (TensorProto.INT64, [1])}}, "unknown form: cache_length"),
        ({"present": "next."}, "unknown form: past_key_values.0.key"),
        ({"ids": 1}, "takes one token at a time"),
        ({"length": 512}, "has a fixed length"),
        ({"cache": TensorProto.DOUBLE}, "holds float64"),
    ],
)
def test_what_cannot_be_given_is_said_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = export(tmp_path / "model.onnx", **changes)
    with pytest.raises(UnsupportedError, match=words) as caught:
        about(path)
    assert "model.onnx" in str(caught.value)
