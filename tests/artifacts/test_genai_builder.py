"""Our ONNX decoders beside those of onnxruntime-genai's builder: every matrix's operator and bits.

`genai_builder.json` is what the builder made of small random models, with its default options and,
as `int4_all`, with op_types_to_quantize=MatMul/Gather. Where it can run here (torch, transformers,
onnx_ir), a test makes them again and holds the record against it; CPUFIT_RECORD=1 writes it anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from tests.runtimes.decoders import FAMILIES, TINY

from cpufit.artifacts.onnx import decoder
from cpufit.catalog import pick

if TYPE_CHECKING:
    from cpufit.precisions import Precision

    Facts = dict[str, Any]

RECORD = Path(__file__).with_name("genai_builder.json")
PACKED = ("op_types_to_quantize=MatMul/Gather",)
CASES: tuple[tuple[str, Precision, tuple[str, ...]], ...] = (
    ("llama", "int4", ()),
    ("llama", "int4_all", PACKED),
    ("llama", "int8", ()),
    ("llama", "fp32", ()),
    ("phi3", "int4", ()),
    ("phi3", "int8", ()),
    ("qwen2", "int4", ()),
    ("qwen2", "int8", ()),
    ("gemma", "int4", ()),
    ("gemma", "int8", ()),
)
IDS = [f"{family}-{precision}" for family, precision, _ in CASES]
# Ours, then the builder's names for what a node multiplies by.
KINDS = {
    "embedding": ("embedding", "embed_tokens"),
    "qkv": ("attn_q", "qkv_proj"),
    "o": ("attn_output", "o_proj"),
    "gate": ("ffn_gate", "gate_proj"),
    "up": ("ffn_up", "up_proj"),
    "down": ("ffn_down", "down_proj"),
    "head": ("logits", "lm_head"),
}
OPERATORS = {"MatMulNBits", "GatherBlockQuantized", "MatMul", "FusedMatMul", "Gather"}


def kinds(file: Path) -> dict[str, Facts]:
    """Return how each kind of matrix is computed in a graph; all layers must agree."""
    graph = onnx.load(file, load_external_data=False).graph
    arrays = {array.name for array in graph.initializer}
    found: dict[str, Facts] = {}
    for node in graph.node:
        of = [kind for kind, words in KINDS.items() if any(word in node.name for word in words)]
        if node.op_type in OPERATORS and of and arrays.intersection(node.input):
            facts = described(node)
            assert found.setdefault(of[0], facts) == facts, node.name
    return found


def described(node: onnx.NodeProto) -> Facts:
    """Return operator, bits, block, accuracy level and whether there are zero points."""
    operator = node.op_type.removeprefix("Fused")
    if operator in ("MatMul", "Gather"):
        return {"operator": operator, "bits": 32}
    told = {a.name: a.i for a in node.attribute if a.name in ("bits", "block_size")}
    facts = {"operator": operator, "bits": 4, **told}  # 4 is the operators' default
    if operator == "MatMulNBits":
        facts["accuracy_level"] = next(a.i for a in node.attribute if a.name == "accuracy_level")
    facts["zero_points"] = len(node.input) > 3 and bool(node.input[3])
    return facts


@pytest.mark.parametrize(("family", "precision", "_options"), CASES, ids=IDS)
def test_every_matrix_is_as_the_builder_makes_it(
    family: str, precision: Precision, _options: tuple[str, ...], tmp_path: Path
) -> None:
    card = replace(pick("gpt2"), name="tiny", decoder=replace(TINY, **FAMILIES[family]))
    file = tmp_path / "model.onnx"
    file.write_bytes(decoder.plan(card, precision).graph.SerializeToString())
    theirs = json.loads(RECORD.read_text("utf-8"))["matrices"][f"{family}-{precision}"]
    if FAMILIES[family].get("fused_ffn"):  # one matrix in the checkpoint, which the builder cuts
        assert theirs.pop("gate") == theirs["up"]
    assert kinds(file) == theirs


@pytest.mark.filterwarnings("ignore")  # theirs
def test_the_record_is_what_the_builder_makes(tmp_path: Path) -> None:
    for package in ("torch", "transformers", "onnx_ir", "onnxruntime_genai"):
        pytest.importorskip(package)
    made = {}
    for (family, precision, options), name in zip(CASES, IDS, strict=True):
        source = tmp_path / family
        if not source.exists():
            write_checkpoint(family, source)
        made[name] = kinds(built(source, tmp_path / name, precision, options))
    found = {"made_by": f"onnxruntime-genai {version('onnxruntime-genai')}", "matrices": made}
    if os.environ.get("CPUFIT_RECORD"):
        RECORD.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    assert json.loads(RECORD.read_text("utf-8"))["matrices"] == found["matrices"]


def write_checkpoint(family: str, folder: Path) -> None:
    """Write a random model as Hugging Face's files, with a tokenizer that knows nothing."""
    import tokenizers  # type: ignore[import-not-found]
    import transformers  # type: ignore[import-not-found]

    card = replace(TINY, **FAMILIES[family])
    names = {"llama": "Llama", "phi3": "Phi3", "qwen2": "Qwen2", "gemma": "Gemma"}
    config = getattr(transformers, f"{names[family]}Config")(
        vocab_size=card.vocab,
        hidden_size=card.hidden,
        intermediate_size=card.ffn,
        num_hidden_layers=card.layers,
        num_attention_heads=card.heads,
        num_key_value_heads=card.kv_heads,
        head_dim=card.head_dim,
        max_position_embeddings=card.context,
        original_max_position_embeddings=card.context,
        tie_word_embeddings=card.tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)


def built(source: Path, target: Path, precision: Precision, options: tuple[str, ...]) -> Path:
    """Return the graph that the builder makes for CPUs."""
    from onnxruntime_genai.models import builder  # type: ignore[import-untyped]

    kind, scratch = precision.removesuffix("_all"), str(target.with_name("scratch"))
    given = ("", str(source), str(target), kind, "cpu", scratch)
    builder.create_model(*given, **builder.parse_extra_options(*given, list(options)))
    return target / "model.onnx"
