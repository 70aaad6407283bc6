"""Model cards and their variants: what cpufit can rebuild, as data."""

from cpufit.catalog.cards import load_models, model_of_file, pick, read_cards
from cpufit.catalog.variants import standard, with_variants

__all__ = ["load_models", "model_of_file", "pick", "read_cards", "standard", "with_variants"]
