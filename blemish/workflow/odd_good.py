"""Good images that lift the threshold: what each costs in painted defects, in words and as pictures."""

from __future__ import annotations

from typing import Any

from blemish.bundle.bundle import Bundle
from blemish.datasets.index import DatasetIndex
from blemish.decisions.sensitivity import num_found_at
from blemish.errors import ImageError
from blemish.images.decode import read_image
from blemish.schema import Image, ReadSettings


def odd_json(bundle: Bundle) -> list[dict[str, Any]]:
    """Good images that lift the threshold, each with the painted defects found now and without it."""
    told, now = bundle.sensitivity, bundle.calibration.image_threshold
    rows = []
    for odd in bundle.manifest.facts.get("odd", []):
        row = dict(odd)
        if told is not None:
            total = len(told.trials)
            row["painted_found"] = num_found_at(told, now) / total
            row["painted_found_without"] = num_found_at(told, odd["threshold_without"]) / total
        rows.append(row)
    return rows


def odd_sentence(odd: dict[str, Any]) -> str:
    """What such an image costs and what to do, in one line."""
    cost = "more defects would be found"
    if "painted_found" in odd:
        cost = (
            f"{odd['painted_found_without']:.0%} of the painted defects would be found in place of "
            f"{odd['painted_found']:.0%}"
        )
    return (
        f"{odd['name']} is odd and lifts the threshold: without it {cost}. Look at it. If it is not good, take it out "
        f"and train again; if it is, say --trust {odd['name']}"
    )


def odd_pictures(bundle: Bundle, index: DatasetIndex) -> tuple[tuple[str, Image], ...]:
    """Those of them that the data set still holds: what to say of each, and the image."""
    paths = {index.relative(item.path): item.path for item in index.train_good}
    found = []
    for odd in odd_json(bundle):
        if odd["name"] in paths:
            try:
                image = read_image(
                    paths[odd["name"]], ReadSettings(bits=bundle.manifest.bits, page=bundle.manifest.page)
                )
            except ImageError:
                continue
            found.append((odd_sentence(odd), image))
    return tuple(found)
