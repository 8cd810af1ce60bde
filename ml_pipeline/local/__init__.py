"""Runs the declared jobs on this machine."""
