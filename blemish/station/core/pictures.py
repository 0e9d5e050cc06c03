"""Where the file of a picture lies: named by its SHA-256, in folders of its first digits."""

from __future__ import annotations

from pathlib import Path

ENDINGS = {"png": ".png", "jpeg95": ".jpg"}


def picture_path(folder: Path, sha256: str, form: str) -> Path:
    """The file of a picture below `folder`.

    >>> picture_path(Path("images"), "ab" + "cd" + 60 * "0", "png").parts[:3]
    ('images', 'ab', 'cd')
    """
    return folder / sha256[:2] / sha256[2:4] / f"{sha256}{ENDINGS[form]}"
