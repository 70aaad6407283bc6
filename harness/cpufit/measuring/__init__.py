"""What a process of its own does: make an artifact, check a precision, or measure a cell."""
