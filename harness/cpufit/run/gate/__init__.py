"""The road of a gate, by itself: two arms, pairs of processes in turns, a verdict."""
