"""The user's words to cells, each decided once; the only place that asks whether one can run."""
