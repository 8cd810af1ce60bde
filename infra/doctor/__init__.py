"""Compares a repository on GitHub, and the workspaces, with what the git flow needs."""
