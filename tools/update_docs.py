"""Writes what is made from the code and from results: two pages, and the tables in the README and the documentation.

python tools/update_docs.py          writes them
python tools/update_docs.py --check  exit status 1 where one is out of date
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from result_tables import with_tables

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "inspect",
    "calibrate",
    "teach",
    "sensitivity",
    "compare",
    "serve",
    "verify",
    "bench",
    "quantize",
    "export",
    "info",
    "detectors",
    "backbones",
    "backbones add",
    "data check",
    "data list",
    "data fetch",
    "zones edit",
    "station",
    "station check",
    "station verify",
    "station backup",
    "station restore",
    "station export",
    "station service",
    "station user add",
    "station user list",
    "station user disable",
    "station user key",
)


def command_line_page() -> str:
    """The command line page, from the commands' own help."""
    parts = [
        "# Command line\n",
        "Made from `--help` by `tools/update_docs.py`. Every command takes `--json`: then standard output holds one",
        "JSON object (for `inspect` one line per image) and nothing else; messages go to standard error.\n",
        "Exit status: 0 done; 1 `inspect --fail-on-reject` met a reject; 2 the user must act (one line says what); 3 a",
        "fault of ours; 4 `inspect --fail-on-drift` met a drift alarm. A command that was stopped ends with 130 for",
        "Ctrl-C, 143 for a request to end, 141 where nobody reads its output any more.\n",
    ]
    environment = {**os.environ, "COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    for command in COMMANDS:
        text = subprocess.run(
            [sys.executable, "-m", "blemish.cli.main", *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout
        usage = text.replace("python -m blemish.cli.main", "blemish").replace("main.py", "blemish")
        parts.append(f"## blemish {command}\n\n```text\n{usage.strip()}\n```\n")
    return "\n".join(parts)


def detectors_page() -> str:
    """The page of all detectors and their settings, as `blemish detectors` tells them (PyTorch installed)."""
    done = subprocess.run(
        [sys.executable, "-m", "blemish.cli.main", "detectors", "--json"], capture_output=True, text=True, check=True
    )
    parts = [
        "# Detectors\n",
        "Made from the detectors themselves by `tools/update_docs.py`. Give a setting with `--set name=value`.\n",
    ]
    for row in json.loads(done.stdout)["detectors"]:
        needs = "the extra `learn` to fit" if row["needs_torch"] else "nothing more than the core"
        parts.append(f"## `{row['name']}`\n\n{row['summary'].capitalize()}. Needs {needs}.")
        parts.append(f"\n{row['paper']}.\n" if row["paper"] else "")
        if row["presets"]:
            parts.append("| preset | size | settings | meaning |\n| --- | --- | --- | --- |")
            for preset in row["presets"]:
                settings = ", ".join(f"`{name}={value}`" for name, value in preset["settings"].items())
                parts.append(f"| `{preset['name']}` | {preset['size']} | {settings} | {preset['summary']} |")
            parts.append("")
        parts.append("| setting | default | values | meaning |\n| --- | --- | --- | --- |")
        for setting in row["settings"]:
            default = json.dumps(setting["default"])
            values = setting["type"].replace("|", "or")
            parts.append(f"| `{setting['name']}` | `{default}` | {values} | {setting['description']} |")
        parts.append("")
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Each made page, and each page with tables of results, and what it should hold."""
    found = {
        ROOT / "docs" / "command-line.md": command_line_page(),
        ROOT / "docs" / "detectors.md": detectors_page(),
    }
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        if path not in found:
            found[path] = with_tables(path.read_text(encoding="utf-8"), ROOT / "benchmarks" / "results")
    return found


def main() -> int:
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`")
        return 1 if stale else 0
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
