"""Stateful language models on OpenVINO: the KV cache lives in one infer request.

A step is one inference. What it takes is made beforehand, so that the timed region holds no more
than setting four tensors, the inference, and reaching for the logits.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit.errors import UnsupportedError
from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.openvino.opening import compile_model, in_place, infer, read_model, resolved
from cpufit.runtimes.openvino.sense import OpenVinoSense
from cpufit.runtimes.tokens import drawn, has_sense

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_INPUTS = ("input_ids", "attention_mask", "position_ids", "beam_idx")
_ROWS = "image_rows"
_CONTEXT = ["cpufit", "context"]  # of the model's runtime information: its longest position
_ONE_BEAM = in_place(np.zeros(1, np.int32))
_DRAWN_STEPS = 1024  # of random ids, drawn once for decoding and then used round and round


class OpenVinoDecoderSession(Stepping):
    """A compiled model with one infer request, which holds the cache of all sequences.

    A prompt fills one sequence. To decode several, one step outside the clock hands its cache to
    all of them; the place that step's token takes is masked from then on.
    """

    def __init__(self, core: Any, artifact: Artifact, options: LoadOptions) -> None:
        model = read_model(core, replace(artifact, inputs=()), options)
        self._sense = OpenVinoSense(core, artifact, options) if has_sense(artifact) else None
        self._rows = self._sense.rows if self._sense else 0  # before the first token
        options = replace(options, context_tokens=options.context_tokens + self._rows)
        _check_context(model, options.context_tokens)
        if options.precision == "bf16":  # its weights are stored so; it computes in what there is
            options = replace(options, precision="fp16")
        self._compiled = compile_model(core, model, artifact, options)
        self._request = self._compiled.create_infer_request()
        names = (*_INPUTS, _ROWS) if self._sense else _INPUTS
        self._places = [_place(self._compiled, name) for name in names]
        self._logits = _logits(self._compiled)
        self._vocab: int = self._compiled.output(self._logits).partial_shape[-1].get_length()
        self._random = Random(options.seed)  # noqa: S311 - not for secrets
        self._sequences, self._context = options.batch, options.context_tokens
        if self._sequences > 1 and self._places[_INPUTS.index("beam_idx")] < 0:
            raise UnsupportedError(
                "the model has no beam_idx, by which one prompt is handed to several texts",
                "measure it with --scenario latency",
            )
        # One row serves any number of sequences, and one buffer any length: tensors are views.
        self._seen = np.ones((1, self._context + 1), np.int64)
        self._masks = [in_place(self._seen[:, :length]) for length in range(self._context + 2)]
        counted = np.arange(self._context).repeat(self._sequences)
        self._positions = [in_place(row) for row in counted.reshape(-1, self._sequences, 1)]
        self._beams = in_place(np.arange(self._sequences, dtype=np.int32))
        self._none = [in_place(np.zeros((1, 0, self._width()), np.float32))] * bool(self._sense)
        self._begin()
        self.settings: Mapping[str, str] = resolved(core, self._compiled, 1)
        self.notes: tuple[str, ...] = ()

    def inputs(self) -> dict[str, Array]:
        """Return those of the sense; a language model's ids come with each step."""
        return self._sense.inputs if self._sense else {}

    def outputs(self) -> dict[str, Array]:
        """Return a copy of the last step's logits: sequences x vocabulary."""
        logits = self._request.get_output_tensor(self._logits).data
        # A file of the user's own may give those of every token of a prompt.
        return {"logits": logits.reshape(logits.shape[0], -1, self._vocab)[:, -1].copy()}

    def close(self) -> None:
        """Free the model; the session cannot be used afterwards."""
        del self._request, self._compiled

    def _width(self) -> int:
        """Return the width of a row of the sense; 0 where there is none."""
        if not self._sense:
            return 0
        return int(self._compiled.input(_ROWS).get_partial_shape()[2].get_length())

    def _begin(self) -> None:
        """Empty the cache."""
        self._request.reset_state()
        self._seen[:] = 1
        self._tokens = 0  # of each sequence
        self._hidden = 0  # places of the cache that are masked
        self._shared = False  # whether all sequences have a cache

    def prefill(self, step: Step) -> Work:
        """Get ready for a prompt, in an empty cache."""
        self._begin()
        ids = step.ids or self._draw(step.tokens)
        count = self._rows + len(ids)
        self._check_room(count)
        places = np.arange(count)[None]
        row = np.array([ids], np.int64)
        tensors = (in_place(row), self._masks[count], in_place(places), _ONE_BEAM)

        def run() -> None:
            if self._sense:
                self._sense.run()
                self._infer((*tensors, self._sense.output(_ROWS)))
            else:
                self._infer(tensors)
            self._tokens = count

        return Work(run=run, items=len(ids))

    def decode(self, step: Step) -> Work:
        """Get ready for tokens; ids are one per sequence for each, used round and round."""
        self._share_prompt()
        count = self._sequences
        given = np.array(step.ids or self._draw(_DRAWN_STEPS * count), np.int64)
        ids = cycle([in_place(row) for row in given.reshape(-1, count, 1)])

        def run() -> None:
            at = self._tokens
            self._check_room(at + 1)
            mask = self._masks[at + self._hidden + 1]
            self._infer((next(ids), mask, self._positions[at], self._beams, *self._none))
            self._tokens = at + 1

        return Work(run=run, items=count)

    def _share_prompt(self) -> None:
        """Hand the prompt's cache to every sequence, outside the clock."""
        if self._sequences > 1 and self._tokens and not self._shared:
            ids = in_place(np.zeros((self._sequences, 1), np.int64))
            beams = in_place(np.zeros(self._sequences, np.int32))
            self._infer(
                (ids, self._masks[self._tokens + 1], self._positions[self._tokens - 1], beams)
            )
            self._seen[0, self._tokens] = 0
            self._hidden = 1
        self._shared = True

    def _infer(self, tensors: Sequence[Any]) -> None:
        request = self._request
        for place, tensor in zip(self._places, tensors, strict=True):
            if place >= 0:
                request.set_input_tensor(place, tensor)
        infer(request)
        request.get_output_tensor(self._logits)

    def _check_room(self, tokens: int) -> None:
        if tokens > self._context:
            raise RuntimeError(f"{tokens} tokens do not fit the context of {self._context}")

    def _draw(self, count: int) -> list[int]:
        return drawn(self._random, self._vocab, count)


class OpenVinoSeeingSession(OpenVinoDecoderSession):
    """The same, told about a picture first; 'prefill' has taking it in inside."""

    _sense: OpenVinoSense

    def encode(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Take the picture in, alone."""
        return Work(run=self._sense.run, items=1)


def _check_context(model: Any, tokens: int) -> None:
    """Raise UnsupportedError where the model says that it was not made for so many tokens."""
    limit = model.get_rt_info(_CONTEXT).astype(int) if model.has_rt_info(_CONTEXT) else tokens
    if tokens > limit:
        raise UnsupportedError(
            f"{tokens} tokens do not fit the model's context of {limit}", "ask for fewer tokens"
        )


def _place(compiled: Any, name: str) -> int:
    """Return which input has the name; -1 for none: not every file asks for all."""
    ports = enumerate(compiled.inputs)
    return next((index for index, port in ports if name in port.get_names()), -1)


def _logits(compiled: Any) -> int:
    """Return which output is called so; the first where none is."""
    ports = enumerate(compiled.outputs)
    return next((index for index, port in ports if "logits" in port.get_names()), 0)
