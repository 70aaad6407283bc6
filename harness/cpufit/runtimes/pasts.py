"""How language models that keep no cache of their own name what goes in and comes out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

PAST = "past"
_STEMS = ("past_key_values", "past")
_PRESENTS = ("present", "present_key_values")

# What else such a graph may ask for, and can be given without knowing the model.
SWITCH = "use_cache_branch"  # of a merged graph: whether there is a past
KEPT = ("num_logits_to_keep", "logits_to_keep")  # how many logits, from the last one on
TEXT = frozenset(("input_ids", "attention_mask", "position_ids", SWITCH, *KEPT))


def present_of(past: str, outputs: Collection[str]) -> str:
    """Return the output that is the next step's `past`; '' where there is none.

    'past_key_values.0.key' is followed by 'present.0.key', 'past_0' by 'present_0'.
    """
    for stem in _STEMS:
        if past.startswith(stem):
            for present in _PRESENTS:
                if (name := present + past.removeprefix(stem)) in outputs:
                    return name
    return ""


def grown_axis(axes: tuple[int | str, ...]) -> int:
    """Return which axis of a past is its tokens: the last open one behind the batch; -1 for none.

    Open axes are strings, or None as ONNX Runtime gives those without a name.
    """
    opened = [place for place, axis in enumerate(axes) if not isinstance(axis, int)]
    return opened[-1] if opened and opened[-1] > 0 else -1
