"""Figures, scorecard and batch report."""
