"""``python -m infra.rehearsal``: serves the stand-in on this machine until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from infra.rehearsal import server


def main() -> int:
    """Serve; a port that is taken or a folder that can't be written is one message and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m infra.rehearsal", description=server.__doc__)
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1; 0 for any free one (%(default)s)")
    parser.add_argument(
        "--state", type=Path, default=Path(".rehearsal"), help="folder to keep everything (%(default)s)"
    )
    given = parser.parse_args()
    state: Path = given.state.resolve()
    try:
        state.mkdir(parents=True, exist_ok=True)
        token, where = server.token(state)
        bound, host, end = server.make(state, given.port, token)
    except (OSError, OverflowError) as error:
        print(f"error: --port {given.port} --state {state}: {error}", file=sys.stderr)
        return 2

    def stop(_signal: int, _frame: object) -> None:
        # From a thread: the loop that it ends is the one that the signal interrupts.
        threading.Thread(target=bound.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"rehearsal workspace: {host}", flush=True)
    print(f"token: {where}", flush=True)
    bound.serve_forever(poll_interval=0.1)
    end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
