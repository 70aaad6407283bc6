"""The shapes of models: what a card says of each kind of network; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

FORBID_UNKNOWN = {"extra": "forbid"}  # read by pydantic; a plain dict keeps this module pure
# Of a field that a card got after its first version: `field(default=0, metadata=LATER)`. Where it
# has its default it is left out of the keys of artifacts, so that theirs stay what they were.
LATER = {"later": True}


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3's rotary frequencies for contexts longer than the model was first trained on."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    factor: float
    low: float  # wavelengths above `original / low` are stretched by the whole factor
    high: float  # those below `original / high` not at all
    original: int  # context of the first training


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Hyper-parameters of a decoder-only language model; names as in its published config."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    arch: str  # llama.cpp's architecture name
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int  # longest position the model was published for
    position: Literal["rope", "learned"] = "rope"
    rope_base: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm: Literal["rms", "layer"] = "rms"  # RMSNorm, or LayerNorm with bias
    norm_eps: float = 1e-5
    qk_norm: bool = False  # RMSNorm of each head's queries and keys, after the rotation
    activation: Literal["silu", "gelu"] = "silu"  # GELU by its tanh approximation
    gated: bool = True  # activation(gate x) * (up x), not activation(up x)
    tied: bool = False  # the output matrix is the embedding matrix
    biases: Literal["none", "qkv", "all"] = "none"  # of the linear layers, the head apart
    fused_qkv: bool = False
    fused_ffn: bool = False  # gate and up projections are one matrix
    embedding_scale: float = 1.0
    sliding_window: int = 0  # tokens a token attends to, itself included; 0: all before it
    lowrank: int = 0  # linear layers are two factors with a `lowrank`-th of the parameters

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of all layers in f16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Hyper-parameters of a BERT-like encoder: post-norm, learned positions, GELU(erf)."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    layers: int
    hidden: int
    ffn: int
    heads: int
    vocab: int
    positions: int
    types: int = 0  # rows of the token-type embedding
    pooler: bool = False
    norm_eps: float = 1e-12
    sequence: int = 128  # tokens of the measured input
    lowrank: int = 0  # as of a Decoder


@dataclass(frozen=True, kw_only=True)
class Vision:
    """A convolutional model whose layer table is code: `builder` names it in artifacts."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    builder: str
    resolution: int
    classes: int
    answer: Literal["classes", "yolov5", "yolov8", "boxes"] = "classes"  # what its outputs hold
    keep: int = 100  # percent of every layer's channels; the widths become multiples of 8
    lowrank: int = 0  # as of a Decoder, for the linear layers of transformers
    proposals: int = 0  # regions the second stage of a detector looks at; 0: it has none


@dataclass(frozen=True, kw_only=True)
class Sense:
    """A graph that takes in a picture, sound or noise: `builder` names it in artifacts.

    Alone it is a model of one pass; beside a decoder or writer it is what that one is told about.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    builder: str
    size: int = 0  # pixels of a side; 0 where it takes no picture
    lowrank: int = 0  # as of a Decoder


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A decoder that writes text about the rows of an encoder, which it looks at in every layer."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    layers: int
    hidden: int
    ffn: int
    heads: int
    vocab: int
    positions: int
    rows: int  # it looks at
    width: int  # of those rows
    pre_norm: bool = False  # norms before each layer, as Whisper's; else after, as BERT's
    key_bias: bool = True
    head: Literal["bert", "plain"] = "bert"  # what comes before the output matrix
    lowrank: int = 0  # as of a Decoder
    norm_eps: float = 1e-12
