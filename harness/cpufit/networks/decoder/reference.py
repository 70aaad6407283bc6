"""A decoder computed by numpy in float32: slow, plain, and what every runtime is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from cpufit.networks.decoder import pools
from cpufit.networks.decoder.network import logits
from cpufit.networks.decoder.rope import frequencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.networks.decoder.pools import Floats
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.schema.shapes import Decoder


def reference_logits(model: str, decoder: Decoder, ids: Sequence[int]) -> Floats:
    """Return the logits after the last of `ids`, shape vocab; one tensor in memory at a time."""
    found: Floats = logits(_Numpy(model, decoder, ids), decoder).reshape(-1)
    return found


class _Numpy:
    """Computes while the network is walked: no cache, all tokens at once, batch 1."""

    stacks = False

    def __init__(self, model: str, decoder: Decoder, ids: Sequence[int]) -> None:
        self._model, self._decoder = model, decoder
        self._ids = np.array([ids])

    def embedding(self, table: Tensor) -> Floats:
        found: Floats = self._take(table)[self._ids]
        return found

    def positions(self, table: Tensor) -> Floats:
        return self._take(table)[None, : self._ids.shape[1]]

    def linear(self, x: Floats, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Floats:
        x = np.concatenate([x @ self._take(weight).T for weight in weights], axis=-1)
        return x + np.concatenate([self._take(bias) for bias in biases]) if biases else x

    def norm(self, x: Floats, weight: Tensor, bias: Tensor | None) -> Floats:
        if bias is None:
            return self._rms(x, weight)
        x = x - x.mean(axis=-1, keepdims=True)
        return self._rms(x, weight) + self._take(bias)

    def attend(self, parts: Sequence[Floats], block: int, norms: Sequence[Tensor]) -> Floats:  # noqa: ARG002
        card = self._decoder
        count, keys = card.heads, card.kv_heads
        joined = np.concatenate(parts, axis=-1)
        heads = joined.reshape(joined.shape[1], count + 2 * keys, card.head_dim).swapaxes(0, 1)
        q, k, v = heads[:count], heads[count : count + keys], heads[count + keys :]
        if card.position == "rope":
            q, k = self._rotate(q), self._rotate(k)
        if norms:
            q, k = self._rms(q, norms[0]), self._rms(k, norms[1])
        k, v = (np.repeat(part, count // keys, axis=0) for part in (k, v))
        scores = q @ k.swapaxes(1, 2) / np.float32(card.head_dim**0.5) + self._mask()
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed: Floats = scores / scores.sum(axis=-1, keepdims=True) @ v
        return mixed.swapaxes(0, 1).reshape(1, mixed.shape[1], -1)

    def activate(self, x: Floats, kind: Literal["silu", "gelu"]) -> Floats:
        if kind == "silu":
            found: Floats = x / (1 + np.exp(-x))
        else:
            inner = np.float32((2 / np.pi) ** 0.5) * (x + 0.044715 * x**3)
            found = x / 2 * (1 + np.tanh(inner))
        return found

    def halves(self, x: Floats) -> tuple[Floats, Floats]:
        first, second = np.split(x, 2, axis=-1)
        return first, second

    def add(self, x: Floats, y: Floats) -> Floats:
        return x + y

    def multiply(self, x: Floats, y: Floats) -> Floats:
        return x * y

    def scale(self, x: Floats, factor: float) -> Floats:
        return x * np.float32(factor)

    def last(self, x: Floats) -> Floats:
        return x[:, -1:]

    def _take(self, tensor: Tensor) -> Floats:
        return pools.values(self._model, tensor)

    def _rms(self, x: Floats, weight: Tensor) -> Floats:
        power = (x * x).mean(axis=-1, keepdims=True)
        size = np.sqrt(power + np.float32(self._decoder.norm_eps))
        found: Floats = x / size * self._take(weight)
        return found

    def _rotate(self, x: Floats) -> Floats:
        angles = np.arange(x.shape[1])[:, None] * frequencies(self._decoder)
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def _mask(self) -> Floats:
        """Return 0 where row may see column, minus infinity where not."""
        places = np.arange(self._ids.shape[1])
        distance = places[:, None] - places[None, :]
        seen = distance >= 0
        if self._decoder.sliding_window:
            seen &= distance < self._decoder.sliding_window
        return np.where(seen, np.float32(0), np.float32(-np.inf))
