"""Keys of artifacts: people's caches, and the baselines of their gates, stay valid."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.schema.shapes import LATER

if TYPE_CHECKING:
    from cpufit.precisions import Precision

# As the first version of cpufit made them, every package at version '1'. They must never change.
KEYS: tuple[tuple[str, Precision, str, str], ...] = (
    ("mistral-7b", "int4", "llama.cpp", "mistral-7b-int4-74f2ded8891e77cc"),
    ("all-minilm-l6-v2", "fp16", "llama.cpp", "all-minilm-l6-v2-fp16-dc5c73cf66ebe43f"),
    ("qwen2.5-0.5b", "int4", "onnxruntime", "qwen2.5-0.5b-int4-cada32a733cd5b71"),
    ("mobilenet-v3-small", "int8", "onnxruntime", "mobilenet-v3-small-int8-5d797f5ebf3c372d"),
    ("distilbert", "fp32", "onnxruntime", "distilbert-fp32-cb9cd8f4684ff4ef"),
    ("qwen2.5-0.5b", "fp16", "openvino", "qwen2.5-0.5b-fp16-27b23a4b977c6db2"),
    ("smollm2-135m", "bf16", "openvino", "smollm2-135m-bf16-ca4eeaa42a0878c8"),
    ("llama-3.2-1b", "int4", "fake", "llama-3.2-1b-int4-d70d2675b0d32c44"),
    ("mistral-7b@ffn60", "int4", "llama.cpp", "mistral-7b@ffn60-int4-78d4b0ceff3d870b"),
    ("yolov8n?size=320", "fp32", "onnxruntime", "yolov8n?size=320-fp32-0b3af44207cc091a"),
    ("blip-base", "int8", "onnxruntime", "blip-base-int8-0ef2e43173aedee6"),
    ("resnet-50", "int8", "onnxruntime", "resnet-50-int8-62c0c240b45c79b0"),
    ("gemma-2b", "q4_0", "llama.cpp", "gemma-2b-q4_0-209722a7b896c3a3"),
    ("minigpt4-light", "int8", "llama.cpp", "minigpt4-light-int8-cbb031f60b9c840d"),
    ("phi-3-mini", "int8", "llama.cpp", "phi-3-mini-int8-5841fdffb95f54f1"),
    ("phi-3-mini", "fp32", "onnxruntime", "phi-3-mini-fp32-fe02d9c582d6c16d"),
)


@pytest.mark.parametrize(("name", "precision", "runtime", "key"), KEYS)
def test_keys_are_those_of_the_first_version(
    name: str, precision: Precision, runtime: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_version", lambda package: "1")
    order = order_of(pick(name), precision, runtime, "synthetic", Path())
    assert cache.key_of(order) == key


# Made with other bytes since.
CHANGED: tuple[tuple[str, Precision, str, str], ...] = (
    # Fused projections were Q5_K in all blocks.
    ("minigpt4-light", "int4", "llama.cpp", "minigpt4-light-int4-f9dfe6812a17befd"),
    ("phi-3-mini", "int4", "llama.cpp", "phi-3-mini-int4-6adcd15604ea9ab0"),
    # Symmetric codes then, asymmetric now.
    ("qwen2.5-0.5b", "int8", "openvino", "qwen2.5-0.5b-int8-a0aabe0cad2148ca"),
    ("qwen2.5-0.5b", "int4", "openvino", "qwen2.5-0.5b-int4-7c1331391370281f"),
    ("minigpt4-light", "int4", "openvino", "minigpt4-light-int4-6f2e3af103b7ddce"),
    # Embeddings were rounded.
    ("phi-3-mini", "int4", "onnxruntime", "phi-3-mini-int4-439ff9aa9bb48917"),
    ("qwen2.5-0.5b", "int8", "onnxruntime", "qwen2.5-0.5b-int8-8321e09ccfab58d0"),
    # OpenVINO's graphs were not folded.
    ("yolov8n", "bf16", "openvino", "yolov8n-fp32-add1c29350edfe3b"),
    ("whisper-tiny", "fp32", "openvino", "whisper-tiny-fp32-52579e1655045fdd"),
    (
        "efficientnet-lite0@prune30",
        "int8",
        "openvino",
        "efficientnet-lite0@prune30-int8-bb4b65fe15db0bce",
    ),
    ("minigpt4-light", "bf16", "openvino", "minigpt4-light-bf16-e4276de98051c573"),
    # Their logits were in the hundreds.
    ("mobilenet-v3-large", "int8", "onnxruntime", "mobilenet-v3-large-int8-b495e4a2c6aab234"),
    ("resnet-152", "fp32", "onnxruntime", "resnet-152-fp32-771264e6fa1406ed"),
)


@pytest.mark.parametrize(("name", "precision", "runtime", "key"), CHANGED)
def test_other_bytes_have_another_key(
    name: str, precision: Precision, runtime: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_version", lambda package: "1")
    assert cache.key_of(order_of(pick(name), precision, runtime, "synthetic", Path())) != key


@dataclass(frozen=True)
class _Card:
    layers: int
    experts: int = field(default=0, metadata=LATER)


def test_a_field_that_came_later_counts_only_where_it_is_set() -> None:
    assert cache._card((_Card(2), _Card(3, experts=8))) == [
        {"layers": 2},
        {"layers": 3, "experts": 8},
    ]
