"""Measure AI models on this CPU and say which tier of model it can run."""

__version__ = "0.1.0"
