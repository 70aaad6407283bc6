"""OpenVINO IR: graphs of one pass, and language models."""
