"""Leaves out of npm's lock file whom to fund: addresses that installing needs nothing of."""

import json
import sys
from pathlib import Path

file = Path(sys.argv[1])
content = json.loads(file.read_text(encoding="utf-8"))
for package in content["packages"].values():
    package.pop("funding", None)
file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
