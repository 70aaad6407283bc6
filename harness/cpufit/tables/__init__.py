"""Results as tables for documents, and side by side: from Parquet columns, never row by row.

A million processes are some seconds this way; the figures are those of `analysis.rows`.
"""
