"""What tests of the line share: images of parts, and events with known values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.line.events import Judged, Origin
from blemish.schema import Region, Verdict
from blemish.testing.tiny import TinyProduct, write_png


@pytest.fixture
def parts(tmp_path: Path, product: TinyProduct) -> Path:
    """A folder of six good and six defective images."""
    images = [*product.held_out, *(defect.image for defect in product.defects)]
    for number, image in enumerate(images):
        write_png(tmp_path / "parts" / f"{number:02}.png", image)
    return tmp_path / "parts"


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.line.stream.usable_cores", lambda: 4)


def make_region(box: tuple[int, int, int, int] = (4, 6, 8, 6), **changes: Any) -> Region:
    x, y, width, height = box
    facts: dict[str, Any] = {
        "box": box,
        "contour": ((x, y), (x + width - 1, y), (x + width - 1, y + height - 1)),
        "area_px": float(width * height),
        "centroid": (x + width / 2, y + height / 2),
        "peak": (x + width // 2, y + height // 2),
        "peak_score": 9.0,
        "mean_score": 6.0,
        "length_px": 10.0,
    }
    return Region(**{**facts, **changes})


def make_verdict(path: str = "test/good/000.png", score: float = 3.0, **changes: Any) -> Verdict:
    facts: dict[str, Any] = {
        "path": path,
        "decision": "reject" if score > 5 else "accept",
        "score": score,
        "threshold": 5.0,
        "p_value": 0.25,
        "display_score": 10 * score,
        "regions": (make_region(),) if score > 5 else (),
        "milliseconds": 4.0,
        "bundle_id": "0123456789abcdef",
        "image_hw": (24, 32),
        "anomaly_map": np.full((6, 8), score, dtype=np.float32),
    }
    return Verdict(**{**facts, **changes})


def make_judged(path: str = "test/good/000.png", score: float = 3.0, **changes: Any) -> Judged:
    facts = {name: changes.pop(name) for name in ("picture", "overlay", "sorted_to", "is_kept") if name in changes}
    origin = changes.pop("origin", Origin(path, Path(path)))
    return Judged(origin, make_verdict(path, score, **changes), **facts)


@pytest.fixture
def region_of() -> Callable[..., Region]:
    return make_region


@pytest.fixture
def judged_of() -> Callable[..., Judged]:
    return make_judged
