"""Decoder-only language models: their tensors, their weights, and the network they form.

One description for every format: `tensors` names and shapes the weights, `pools` fills them,
`network` says how they are put together. Builders of GGUF, ONNX and OpenVINO files start from it.
"""
