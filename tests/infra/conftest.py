"""What the tests of the deployment share. They see the project's own folder, as ``python -m infra`` does."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The deployment is no part of the wheel; the pipeline is still the installed one, which comes first.
sys.path.append(str(ROOT))
