"""Calls a wheel's entry point as Databricks does: ``launch.py SERVER PACKAGE ENTRY_POINT ARGUMENT ...``.

It is the task's process, and runs in the wheel's environment, where this project's packages need not be. It ends with
the server, whose process id it gets, and so does all that it started.
"""

import importlib
import importlib.metadata
import os
import signal
import sys
import threading
import time


def _end_with(server: int) -> None:
    while os.getppid() == server:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    server, package, name, *arguments = sys.argv[1:]
    threading.Thread(target=_end_with, args=(int(server),), daemon=True).start()
    declared = importlib.metadata.distribution(package).entry_points.select(name=name)
    found = next(iter(declared), None)
    function = found.load() if found else getattr(importlib.import_module(package), name)
    sys.argv = [name, *arguments]
    function()
