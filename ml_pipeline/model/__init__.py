"""Estimators, metrics, the search, the decision, and the functions that score rows."""
