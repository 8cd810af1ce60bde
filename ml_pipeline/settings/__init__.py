"""Typed settings of a pipeline."""
