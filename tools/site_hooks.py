"""Pages of the site that are no files in docs/: those outside, and the Python API from the public names.

MkDocs loads this as a hook; links from one page to another keep working on GitHub and on the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import blemish

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/results/accuracy_default.md": "accuracy-default.md",
}
"""Markdown files of the repository that are pages too."""
HOMES = {
    **{f"docs/{page.name}": page.name for page in (ROOT / "docs").glob("*.md")},
    **OUTSIDE,
    "README.md": "index.md",
}
GROUPS = {
    "Work": ("train", "load", "Model", "Inspector", "open_source", "detector_names"),
    "Results": ("Verdict", "Region", "Evaluation", "Calibration"),
    "Settings": ("ReadSettings", "TrainingRun"),
}


def api_page() -> str:
    """Every public name, with the module that defines it; names of no group are errors and warnings."""
    grouped = {name for names in GROUPS.values() for name in names}
    errors = sorted(name for name in blemish.__all__ if name.endswith(("Error", "Warning")) or name == "Cancelled")
    others = sorted(set(blemish.__all__) - grouped - set(errors))
    groups = {**GROUPS, "More": tuple(others), "Errors and warnings": tuple(errors)}
    parts = ["# Python API\n", "All public names come from the top of the package: `import blemish`.\n"]
    for title, names in groups.items():
        shown = [name for name in names if name in blemish.__all__]
        parts += [f"## {title}\n"] if shown else []
        for name in shown:
            parts.append(f"::: {blemish._HOMES[name]}.{name}\n")
    return "\n".join(parts)


def on_files(files: Files, config: Any) -> Files:
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "api.md", content=api_page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository become links to the site's pages, or their names where they are no pages."""
    places = {name: source for source, name in HOMES.items() if source != "README.md"}
    folder = posixpath.dirname(places.get(page.file.src_uri, "docs/index.md"))

    def moved(match: re.Match[str]) -> str:
        label, (target, hash_, anchor) = match[1], match[2].partition("#")
        if "://" in target or not target:
            return match[0]
        source = posixpath.normpath(posixpath.join(folder, target))
        if source in HOMES:
            return f"[{label}]({HOMES[source]}{hash_}{anchor})"
        return match[0] if source.startswith("docs/") else f"{label} (`{source}`)"

    return re.sub(r"(?<!!)\[([^]]+)\]\(([^)\s]+)\)", moved, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    return _with_own_search(output, "../" * page.file.url.count("/"))


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    return _with_own_search(output_content, "/") if template_name.endswith(".html") else output_content


def _with_own_search(page: str, above: str) -> str:
    """The theme would load what searches files from another host; the site has its own."""
    return re.sub(
        r'<script src="https://unpkg\.com/[^"]*"></script>', f'<script src="{above}file-search.js"></script>', page
    )
