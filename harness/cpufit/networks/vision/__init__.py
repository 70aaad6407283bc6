"""Convolutional models, each from its published layer table."""
