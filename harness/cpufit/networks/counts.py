"""Parameters and multiply-adds of a card, from its shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.networks import encoder_counts
from cpufit.networks.decoder import tensors

if TYPE_CHECKING:
    from cpufit.schema import Model


def counts(model: Model) -> tuple[int, int]:
    """Return parameters, and MACs per generated token or per pass; zeros for a model of files only.

    Raises UsageError where a picture cannot have the size that the card says.
    """
    if model.encoder:
        return encoder_counts.parameters(model.encoder), encoder_counts.macs(model.encoder)
    parameters = macs = 0
    if model.vision or model.sense:
        from cpufit.networks.families import graphs_of  # imports onnx
        from cpufit.networks.sources import Synthetic

        made = graphs_of(model, Synthetic(model.name))
        parameters = sum(graph.parameters for graph in made.values())
        macs = made["model"].macs if "model" in made else 0
    if model.decoder:
        parameters += tensors.parameters(model.decoder)
        macs = tensors.macs_per_token(model.decoder)
    return parameters, macs
