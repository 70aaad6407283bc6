"""The file onnxruntime-genai reads beside a graph."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cpufit.artifacts.onnx.decoder.emitter import longest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.schema.shapes import Decoder


def genai_config(decoder: Decoder, file: str, inputs: Sequence[str]) -> str:
    """Return `genai_config.json` for the graph in `file` with these inputs, as text.

    The type is 'llama' for every architecture: to onnxruntime-genai that is a decoder with the
    usual inputs and outputs, and all else is in the graph. No token ends a text, as there is no
    tokenizer.
    """
    own = [name for name in inputs if "." not in name]
    found = {
        "model": {
            "type": "llama",
            "context_length": longest(decoder),
            "vocab_size": decoder.vocab,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": file,
                "head_size": decoder.head_dim,
                "hidden_size": decoder.hidden,
                "num_attention_heads": decoder.heads,
                "num_hidden_layers": decoder.layers,
                "num_key_value_heads": decoder.kv_heads,
                "inputs": {
                    **{name: name for name in own},
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {"max_length": longest(decoder), "past_present_share_buffer": True},
    }
    return json.dumps(found, indent=1)
