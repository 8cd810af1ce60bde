"""Calls a wheel's entry point as Databricks does: ``launch.py PACKAGE ENTRY_POINT ARGUMENT ...``.

It is the task's process, and runs in the wheel's environment, where this project's packages need not be.
"""

import importlib
import importlib.metadata
import sys

if __name__ == "__main__":
    package, name, *arguments = sys.argv[1:]
    declared = importlib.metadata.distribution(package).entry_points.select(name=name)
    found = next(iter(declared), None)
    function = found.load() if found else getattr(importlib.import_module(package), name)
    sys.argv = [name, *arguments]
    function()
