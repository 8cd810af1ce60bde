"""The commands ``ml-pipeline`` and ``run-task``."""
