import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_ui_serves_mlflow_on_this_machine_and_ends_when_interrupted(tmp_path: Path) -> None:
    port = free_port()
    command = [str(Path(sys.executable).with_name("ml-pipeline")), "ui", "--port", str(port), "--state", "state"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as ui:
        try:
            deadline = time.monotonic() + 120
            while True:
                assert ui.poll() is None, "the command ended by itself"
                assert time.monotonic() < deadline, "nothing answers"
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                        assert answer.read() == b"OK"
                    break
                except OSError:
                    time.sleep(0.5)
            assert (tmp_path / "state" / "mlflow.db").is_file()
        finally:
            os.killpg(ui.pid, signal.SIGINT)
            try:
                ui.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(ui.pid, signal.SIGKILL)
                raise
        assert ui.stdout is not None
        address = f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it)"
        # The empty line keeps the terminal's ^C apart.
        assert ui.stdout.read().splitlines() == [address, "", "interrupted"]
