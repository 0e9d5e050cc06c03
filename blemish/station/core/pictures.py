"""Pictures that are kept: files named by their SHA-256, and small copies of them for lists."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

ENDINGS = {"png": ".png", "jpeg95": ".jpg"}


def picture_path(folder: Path, sha256: str, form: str) -> Path:
    """The file of a picture below `folder`.

    >>> picture_path(Path("images"), "ab" + "cd" + 60 * "0", "png").parts[:3]
    ('images', 'ab', 'cd')
    """
    return folder / sha256[:2] / sha256[2:4] / f"{sha256}{ENDINGS[form]}"


def thumbnail(path: Path, width: int) -> bytes:
    """A kept picture as a JPEG of at most so many pixels across; b"" where it cannot be read."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_REDUCED_COLOR_2 if len(content) > 4 << 20 else cv2.IMREAD_COLOR)
    if image is None:
        return b""
    if image.shape[1] > width:
        size = width, max(1, round(image.shape[0] * width / image.shape[1]))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return encoded.tobytes() if ok else b""
