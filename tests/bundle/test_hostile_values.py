"""Calibrations and manifests whose values have the right type and mean nothing, and JSON made to cost a lot."""

from __future__ import annotations

import json
import math
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blemish.bundle.read import read_bundle
from blemish.cli.main import EXIT_USER
from blemish.testing.members import Members, pack, pack_as_is, with_json

Refused = Callable[..., None]

RULE = {"action": "reject", "shape": "spot", "measure": "area", "comparison": "over", "limit": 2.0, "unit": "px2"}
COSTS = {"escape": 5.0, "reject": 1.0, "defect_rate": 0.1}
CURVE = {
    "costs": COSTS,
    "thresholds": [1.0, 2.0],
    "expected": [0.1, 0.2],
    "low": [0.0, 0.1],
    "high": [0.2, 0.3],
    "best_threshold": 1.0,
    "best_cost": 0.1,
    "confidence": 0.95,
    "num_defective": 3,
    "assumed_shift": None,
}
TRIANGLE = [[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]]

CALIBRATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"image_treshold": 1.0}, "image_treshold: no known name"),
    "unknown field below": ({"zone": {"inspect": [], "ignores": []}}, "ignores: no known name"),
    "threshold missing": ({"image_threshold": None}, "image_threshold"),
    "text for a number": ({"image_threshold": "1.5"}, "image_threshold"),
    "yes for a number": ({"pixel_threshold": True}, "pixel_threshold"),
    "unknown method": ({"method": "guess"}, "method"),
    "of another graph": ({"graph_sha256": "0" * 64}, "another graph"),
    "no number": ({"image_threshold": math.nan}, "image_threshold is nan"),
    "over every score": ({"image_threshold": math.inf}, "image_threshold is inf"),
    "over every value": ({"pixel_threshold": 1e39}, "pixel_threshold is 1e+39"),
    "a number of 400 digits": ({"image_threshold": 10**400}, "image_threshold"),
    "negative scale": ({"mm_per_px": -0.1}, "mm_per_px is -0.1"),
    "scale that overflows": ({"mm_per_px": 1e300}, "mm_per_px"),
    "no good scores": ({"good_scores": [], "good_map_maxima": []}, "good_scores holds 0 values"),
    "unsorted scores": ({"good_scores": [*range(15, -1, -1)]}, "good_scores must be in ascending order"),
    "one score too many": ({"good_scores": [*range(17)]}, "17 good scores but 16 map maxima"),
    "no spread": ({"display_spread": 0.0}, "display_spread is 0.0"),
    "a review above the reject": ({"review_threshold": 1e30}, "review_threshold is 1e+30"),
    "wide join": ({"regions": {"grow_threshold": 0.0, "join_px": 20_001}}, "regions: join_px is 20001"),
    "wide closing": ({"regions": {"grow_threshold": 0.0, "closing_px": 5001}}, "regions: closing_px is 5001"),
    "wide flank": ({"regions": {"grow_threshold": 0.0, "flank_px": 10**6}}, "regions: flank_px"),
    "growth without end": ({"regions": {"grow_threshold": -math.inf}}, "regions: grow_threshold is -inf"),
    "unit of another measure": ({"rules": [{**RULE, "unit": "mm"}]}, "rules.0: a rule about area cannot be in 'mm'"),
    "millimeters without a scale": ({"rules": [{**RULE, "unit": "mm2"}]}, "mm_per_px"),
    "limit without a measure": ({"rules": [{**RULE, "measure": None, "unit": ""}]}, "rules.0"),
    "a million rules": ({"rules": [RULE] * 10_000}, "at most 1,000 are allowed"),
    "empty polygon": ({"zone": {"inspect": [[]]}}, "zone: a polygon has at least 3 corners; found 0"),
    "corner outside": ({"zone": {"ignore": [[*TRIANGLE, [2.0, 0.0]]]}}, "zone: the corner (2, 0) lies outside"),
    "corner nowhere": ({"zone": {"ignore": [[*TRIANGLE, [math.nan, 0.0]]]}}, "zone: the corner (nan, 0)"),
    "mask of other size": ({"zone": {"mask": {"image_hw": [4, 4], "runs": [3, 12]}}}, "zone.mask: runs give 15 pixels"),
    "mask below zero": ({"zone": {"mask": {"image_hw": [4, 4], "runs": [-5, 21]}}}, "zone.mask: runs give 16 pixels"),
    "mask without end": ({"zone": {"mask": {"image_hw": [10**9, 10**9], "runs": [10**18]}}}, "zone.mask: image_hw"),
    "curve of other lengths": ({"cost_curve": {**CURVE, "low": [0.0]}}, "cost_curve: low"),
    "best of none": ({"cost_curve": {**CURVE, "best_threshold": 1.5}}, "cost_curve: best_threshold is 1.5"),
    "costs below zero": ({"cost_curve": {**CURVE, "costs": {**COSTS, "escape": -1}}}, "cost_curve.costs"),
    "condition twice": ({"conditions": [{"name": "score", "values": [1.0]}] * 2}, "conditions"),
    "unsorted condition": ({"conditions": [{"name": "score", "values": [2.0, 1.0]}]}, "conditions.0: values"),
    "words to a terminal": ({"by": "\x1b[31mred"}, "by is"),
}

MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"run_this": "rm"}, "run_this: no known name"),
    "text for a number": ({"seed": "seven"}, "seed"),
    "one side only": ({"input_hw": [64]}, "input_hw"),
    "no side": ({"input_hw": [0, 64]}, "input_hw.0"),
    "endless side": ({"input_hw": [10**9, 64]}, "input_hw.0"),
    "unknown reduction": ({"reduction": {"kind": "median", "count": 1}}, "reduction.kind"),
    "mean of none": ({"reduction": {"kind": "top_mean", "count": 0}}, "reduction: count is 0"),
    "hash of other letters": ({"data": {"name": "", "fingerprint": "", "num_fit": 1, "num_calibration": 1,
                                        "image_sha256": ["x" * 16]}}, "image_sha256.0"),
    "fewer than no images": ({"data": {"name": "", "fingerprint": "", "num_fit": -1, "num_calibration": 1}}, "num_fit"),
    "words to a terminal": ({"detector": "\x1b]0;title\x07"}, "detector"),
    "seconds in words": ({"facts": {"fit_seconds": "long"}}, "facts.fit_seconds"),
    "history of none": ({"facts": {"history": [{"epoch": "first"}]}}, "facts.history.0.epoch"),
    "tiles that share all": ({"format_version": 2, "tiling": {"tile_px": 64, "overlap_px": 64}}, "cannot share"),
    "tiles that share nothing": ({"format_version": 2, "tiling": {"tile_px": 64, "overlap_px": 0}}, "tiling: overlap"),
    "tiles of an image": ({"format_version": 2, "tiling": {"tile_px": 10**6, "overlap_px": 16}}, "tiling: tile_px"),
    "tiles that are no squares": (
        {"format_version": 2, "input_hw": [64, 96], "tiling": {"tile_px": 64, "overlap_px": 16}}, "tiles are squares",
    ),
    "tiles in version 1": ({"tiling": {"tile_px": 64, "overlap_px": 16}}, "format version 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALIBRATIONS)
def test_a_calibration_that_means_nothing_is_refused(
    case: str, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    changes, says = CALIBRATIONS[case]
    assert_refused(pack(tmp_path / "odd.blemish", with_json(members, "calibration.json", **changes)), says)


@pytest.mark.parametrize("case", ["no number", "wide join", "empty polygon"])
def test_so_is_one_of_the_history(case: str, members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    changes, says = CALIBRATIONS[case]
    entry = {**json.loads(members["calibration.json"]), **changes}
    odd = {**members, "history.json": json.dumps([entry]).encode()}
    assert_refused(pack(tmp_path / "odd.blemish", odd), "history.json: 0", says.removeprefix("regions: "))


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_means_nothing_is_refused(
    case: str, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    changes, says = MANIFESTS[case]
    assert_refused(pack(tmp_path / "odd.blemish", with_json(members, "manifest.json", **changes)), "manifest", says)


COSTLY = {
    "millions of numbers": b'{"good_scores": [' + b"0," * 3_000_000 + b"0]}",
    "millions of lists": b'{"good_scores": [' + b"[]," * 3_000_000 + b"0]}",
    "millions of names": b"{" + b",".join(b'"%d":0' % number for number in range(300_000)) + b"}",
    "millions of levels": b'{"good_scores": ' + b"[" * 3_000_000,
    "a million faults": b'{"good_scores": [' + b'"",' * 1_000_000 + b"0]}",
}


@pytest.mark.parametrize("name", ["calibration.json", "history.json", "manifest.json"])
@pytest.mark.parametrize("content", COSTLY.values(), ids=COSTLY.keys())
def test_json_that_would_cost_much_is_refused_soon(
    name: str, content: bytes, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    packer = pack_as_is if name == "manifest.json" else pack
    path = packer(tmp_path / "costly.blemish", {**members, name: content})
    start = time.perf_counter()
    assert_refused(path)
    assert time.perf_counter() - start < 20


def test_a_directory_of_millions_of_members_is_not_read(
    members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    """The end of the archive says how long its directory is; `zipfile` would take all of it into memory."""
    path = tmp_path / "many.blemish"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for number in range(2000):
            archive.writestr(f"samples/{number:06}.png", b"")
    assert_refused(path, "its directory has")
    content = bytearray(pack(tmp_path / "lie.blemish", members).read_bytes())
    content[-10:-6] = struct.pack("<I", 2**31)
    (tmp_path / "lie.blemish").write_bytes(content)
    assert_refused(tmp_path / "lie.blemish", "its directory has")


def test_inspect_and_info_refuse_it_with_the_same_line(
    members: Members, tmp_path: Path, run: Callable[..., Any], product_folder: Path
) -> None:
    changes, says = CALIBRATIONS["over every score"]
    path = pack(tmp_path / "odd.blemish", with_json(members, "calibration.json", **changes))
    outcomes = [run("info", path), run("inspect", path, product_folder)]
    assert [outcome.status for outcome in outcomes] == [EXIT_USER] * 2
    assert outcomes[0].stderr == outcomes[1].stderr
    assert says in outcomes[0].stderr
    assert outcomes[0].stderr.count("\n") == 1


def told(members: Members, **changes: Any) -> Members:
    """The members with a sensitivity, as a writer of version 3 has them."""
    threshold = json.loads(members["calibration.json"])["image_threshold"]
    trial = {"kind": "spot", "size_px": 5, "strength": 2, "place": [0.5, 0.5], "score": 1.0, "is_found": True}
    facts = {"trials": [trial], "num_images": 3, "num_rejected": 0, "image_hw": [64, 64], "image_threshold": threshold}
    added = {**members, "sensitivity.json": json.dumps({**facts, **changes}).encode()}
    return with_json(added, "manifest.json", format_version=3)


def test_a_sensitivity_is_read(members: Members, tmp_path: Path) -> None:
    read = read_bundle(pack(tmp_path / "told.blemish", told(members)))
    assert read.sensitivity is not None
    assert read.sensitivity.share_found == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": []},
        {"trials": "none"},
        {"trials": [{"kind": "spot"}]},
        {"image_hw": [0, 64]},
        {"num_images": -1},
        {"num_rejected": 1e400},
    ],
    ids=str,
)
def test_a_sensitivity_without_meaning_is_refused(
    changes: dict[str, Any], members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    path = pack(tmp_path / "odd.blemish", told(members, **changes))
    assert_refused(path, "sensitivity.json: ")


def test_a_sensitivity_of_another_calibration_is_refused(
    members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    assert_refused(pack(tmp_path / "odd.blemish", told(members, image_threshold=99.5)), "at threshold 99.5")


def test_a_sensitivity_in_a_bundle_of_version_2_is_refused(
    members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    old = with_json(told(members), "manifest.json", format_version=2)
    assert_refused(pack(tmp_path / "old.blemish", old), "a sensitivity in a bundle of format version 2")
