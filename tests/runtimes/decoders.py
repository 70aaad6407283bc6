"""Tiny decoders of every architecture, and what tests of a runtime do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit.runtimes.base import Step
from cpufit.schema import Artifact
from cpufit.schema.shapes import Decoder, RopeScaling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.networks.decoder.pools import Floats
    from cpufit.runtimes.base import Session

CONTEXT = 64
TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=128,
    ffn=256,
    heads=4,
    kv_heads=2,
    head_dim=32,
    vocab=320,
    context=CONTEXT,
)
GPT2: dict[str, Any] = {
    "arch": "gpt2",
    "position": "learned",
    "norm": "layer",
    "activation": "gelu",
    "gated": False,
    "tied": True,
    "biases": "all",
    "fused_qkv": True,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "scaled": {"rope_base": 5e5, "rope_scaling": RopeScaling(factor=32, low=1, high=4, original=8)},
    "qwen2": {"arch": "qwen2", "tied": True, "rope_base": 1e6, "biases": "qkv"},
    "phi3": {
        "arch": "phi3",
        "kv_heads": 4,
        "fused_qkv": True,
        "fused_ffn": True,
        "sliding_window": 5,
    },
    "qwen": {"arch": "qwen", "kv_heads": 4, "biases": "qkv", "fused_qkv": True},
    "gpt2": GPT2 | {"kv_heads": 4},
    "starcoder": GPT2 | {"arch": "starcoder", "kv_heads": 1},
    "gemma": {
        "arch": "gemma",
        "kv_heads": 1,
        "head_dim": 64,
        "activation": "gelu",
        "tied": True,
        "embedding_scale": 128**0.5,
    },
    "hunyuan": {"arch": "hunyuan-dense", "head_dim": 64, "qk_norm": True, "tied": True},
    "lowrank": {"lowrank": 4},
}
IDS = tuple(np.random.default_rng(3).integers(TINY.vocab, size=21).tolist())


def artifact_of(path: Path) -> Artifact:
    return Artifact(
        key="k",
        path=str(path),
        size_bytes=path.stat().st_size,
        parameters=1,
        format="f",
        recipe="r",
    )


def generate(
    session: Session,
    prompt: Sequence[int],
    then: Sequence[int] = (),
    sequences: int = 1,
) -> Floats:
    """Return the logits, sequences x vocab, after a prompt and more tokens one by one."""
    session.prepare(Step(kind="prefill", tokens=len(prompt), ids=tuple(prompt))).run()
    if then:
        ids = tuple(token for token in then for _ in range(sequences))
        work = session.prepare(Step(kind="decode", ids=ids))
        for _ in then:
            work.run()
    found: Floats = session.outputs()["logits"]
    return found


def relative(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def cosine(x: Floats, y: Floats) -> float:
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
