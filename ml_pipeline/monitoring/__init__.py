"""Drift, limits, shadow and realised metrics of scored batches."""
