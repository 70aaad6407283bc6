"""Findings as people read them: a terminal page, and one HTML file that needs nothing else."""
