"""Model cards: what cpufit can rebuild, as data."""

from cpufit.catalog.cards import load_models, model_of_file, pick

__all__ = ["load_models", "model_of_file", "pick"]
