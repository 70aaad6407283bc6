"""The command line: words in, one call into the rooms below, text and exit codes out."""
