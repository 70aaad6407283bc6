"""Did something become slower or larger? Pairs of processes in, verdicts out. Pure."""
