"""Is this host fit to measure, and are the engines built for it? Each check with its remedy."""
