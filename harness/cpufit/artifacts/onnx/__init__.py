"""ONNX files: graphs of one pass, and language models."""
