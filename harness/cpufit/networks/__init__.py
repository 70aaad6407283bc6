"""What a model is, without any file format: its layers, shapes, weights, parameters and work."""
