"""Runs the tests of the core that need no extra and take a moment each: under 90 seconds on two cores.

python tools/quick_tests.py [more arguments of pytest]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("schema", "metrics", "decisions", "graph", "inspection", "images", "watching", "synthesis")
"""Folders of `tests/` whose tests are the core's own: no training, no command line, no page."""


def main() -> int:
    places = [str(ROOT / "tests" / folder) for folder in FOLDERS]
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-n", "2", "--dist", "loadgroup", *places]
    return subprocess.run([*command, str(ROOT / "tests" / "test_imports.py"), *sys.argv[1:]], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
