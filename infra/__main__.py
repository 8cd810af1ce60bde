"""The one door of the deployment: ``python -m infra COMMAND``; ``--help`` lists the commands."""

import sys

from infra import commands

if __name__ == "__main__":
    sys.exit(commands.main())
