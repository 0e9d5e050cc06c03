"""Bundle -> a folder that needs nothing of this package: graph, facts, check images, sample programs."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import TypeAdapter

from blemish import __version__
from blemish.bundle.bundle import CALIBRATION, Bundle
from blemish.errors import EngineError
from blemish.files import write_file
from blemish.images.resize import resize_image
from blemish.inspection.inspector import judge_prediction
from blemish.inspection.look import look
from blemish.runtime.engines import DEFAULT_ENGINE, what_lacks
from blemish.runtime.session import Session
from blemish.schema import Alignment, Image, Verdict
from blemish.workflow.verify import EngineCheck, check_images, compare, judge_images

Form = Literal["onnx", "openvino"]
EXPORT_VERSION = 1
MOST_CHECKED = 8
"""Images written beside the graph, with the verdict on each."""
PROGRAMS = ("inspect_image.py", "inspect_image.cpp", "InspectImage.cs")
TILE_PROGRAMS = ("inspect_tiles.py",)
"""The same for bundles that cut images into tiles."""
SHARED = "read_file.py"
"""What the Python programs share."""
READING = "reading"
"""Folder of the package's own readers of image files, written beside them."""
READERS = (
    *("container.py", "codec.py", "exif.py", "png.py", "jpeg.py", "bmp.py", "webp.py", "tiff.py", "tiff_pixels.py"),
    *("read.py", "rgb.py"),
)
POSE = "pose.py"
"""How the Python program finds the part, where parts are laid straight; beside the readers."""


ALIGNMENT_NOTE = """
**Parts are laid straight**: before step 2 the part is found in the image, and its frame of {height} x {width} pixels
(height x width) is cut out, turned with the part. `{reading}/pose.py` does it with the numbers under `alignment` in
`model.json`. An image without one whole part in it is put up for review, whatever its score. The programs in C++ and C#
cannot do this and refuse the model.
"""
TILES_NOTE = """
**Images are cut into tiles**: squares of {tile_px} pixels, each resized as in step 2 and run as in step 3; the maps
become one map of the image, whose largest value is the score. Neighbors share {overlap_px} pixels of the input;
`inspect_tiles.py` shows how tiles are placed and how their maps pass over into each other.
"""


@dataclass(frozen=True)
class Exported:
    """What was written, and how the written graph compares with the bundle's."""

    files: tuple[Path, ...]
    check: EngineCheck
    score_decides: bool


def export(bundle: Bundle, folder: Path, *, to: Form) -> Exported:
    """`folder`, now holding the graph in the form asked for and all that a program needs to give the same verdicts.

    Raises EngineError, before anything is written, where the exported graph does not say what the bundle's graph says.
    """
    graphs = _graph_files(bundle, to)
    images = check_images(bundle).images
    reference = judge_images(bundle, Session(bundle.graph), images)
    session = _open(graphs, to)
    check = compare(to, judge_images(bundle, session, images), reference, bundle.calibration)
    if not check.is_equal:
        raise EngineError(
            f"nothing was exported: in the form {to} {check.num_flips} of {check.num_images} verdicts differ from the "
            f"bundle's, and scores by up to {check.relative_difference:.2%} of the distance to the threshold"
        )
    # Half of them are good, half are painted: some of both.
    places = np.unique(np.linspace(0, len(images) - 1, MOST_CHECKED).round().astype(int)).tolist()
    pictures = [_whole_picture(bundle, images[place]) for place in places]
    verdicts = [_judge_whole(bundle, session, picture) for picture in pictures]
    names = [f"check/{number}.ppm" for number in range(len(pictures))]
    facts = {
        **_facts(bundle, next(iter(graphs))),
        "files_sha256": {name: hashlib.sha256(content).hexdigest() for name, content in graphs.items()},
        "check": [
            {"file": name, "score": verdict.score, "decision": verdict.decision}
            for name, verdict in zip(names, verdicts, strict=True)
        ],
    }
    programs = PROGRAMS if bundle.manifest.tiling is None else TILE_PROGRAMS
    package = importlib.resources.files("blemish")
    samples = package / "samples"
    contents = {
        **graphs,
        **{name: _ppm(picture) for name, picture in zip(names, pictures, strict=True)},
        **{name: _without_package((samples / name).read_bytes()) for name in (*programs, SHARED)},
        **{f"{READING}/{name}": _without_package((package / "images" / name).read_bytes()) for name in READERS},
        f"{READING}/{POSE}": (package / "alignment" / POSE).read_bytes(),
        "README.md": _readme((samples / "README.md").read_text(encoding="utf-8"), facts, programs, check),
        "model.json": json.dumps(facts, indent=1).encode(),
    }
    files = tuple(write_file(folder / name, content) for name, content in contents.items())
    return Exported(files, check, bool(facts["score_decides"]))


def _graph_files(bundle: Bundle, to: Form) -> dict[str, bytes]:
    """The files of the graph, the one to open first."""
    if to == "onnx":
        return {"graph.onnx": bundle.graph}
    lacking = what_lacks("openvino")
    if lacking:
        raise EngineError(lacking)
    from blemish.runtime.openvino_runner import convert

    xml, weights = convert(bundle.graph)
    return {"graph.xml": xml, "graph.bin": weights}


def _open(graphs: Mapping[str, bytes], to: Form) -> Session:
    if to == "onnx":
        return Session(graphs["graph.onnx"], engine=DEFAULT_ENGINE)
    from blemish.runtime.openvino_runner import OpenVinoRunner

    return Session(OpenVinoRunner(graphs["graph.xml"], weights=graphs["graph.bin"]), engine="openvino")


def _facts(bundle: Bundle, graph: str) -> dict[str, Any]:
    """`model.json`: flat, one name a line, so that a program can do without a JSON library."""
    manifest, calibration, alignment = bundle.manifest, bundle.calibration, bundle.manifest.alignment
    decisions = CALIBRATION.dump_python(calibration, mode="json")
    return {
        "format_version": EXPORT_VERSION,
        "bundle_id": bundle.bundle_id,
        "detector": manifest.detector,
        "graph": graph,
        "input_height": manifest.input_hw[0],
        "input_width": manifest.input_hw[1],
        "resize_rule": manifest.resize_rule if alignment is None else f"part, then {manifest.resize_rule}",
        "alignment": None if alignment is None else TypeAdapter(Alignment).dump_python(alignment, mode="json"),
        "bits": manifest.bits,
        "page": manifest.page,
        "image_threshold": calibration.image_threshold,
        "review_threshold": calibration.review_threshold,
        "pixel_threshold": calibration.pixel_threshold,
        "score_decides": calibration.zone is None and not calibration.rules,
        "mm_per_px": calibration.mm_per_px,
        "tile_px": manifest.tiling.tile_px if manifest.tiling else None,
        "overlap_px": manifest.tiling.overlap_px if manifest.tiling else None,
        "reduction": TypeAdapter(type(manifest.reduction)).dump_python(manifest.reduction, mode="json"),
        "zone": decisions["zone"],
        "rules": decisions["rules"],
    }


def _without_package(program: bytes) -> bytes:
    """The program with its imports of the package turned to the files that are written beside it."""
    return re.sub(rb"blemish\.(images|alignment)", READING.encode(), program).replace(b"blemish.samples.", b"")


def _whole_picture(bundle: Bundle, image: Image) -> Image:
    """An image at the input size as a program gets it.

    For tiles one that takes six of them, repeated; a frame of a part lies turned in a larger picture.
    """
    tiling, alignment = bundle.manifest.tiling, bundle.manifest.alignment
    if alignment is not None:
        return _turned(resize_image(image, alignment.frame_hw))
    if tiling is None:
        return image
    tile = np.asarray(cv2.resize(image, (tiling.tile_px, tiling.tile_px), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.concatenate([np.concatenate([tile, tile[::-1]], axis=1), tile[: len(tile) // 4].repeat(2, axis=1)])


def _turned(frame: Image) -> Image:
    """A picture with the frame in its middle, turned a little; its edge goes on beyond it."""
    side = math.ceil(1.2 * math.hypot(*frame.shape[:2]))
    matrix = np.array(cv2.getRotationMatrix2D((frame.shape[1] / 2, frame.shape[0] / 2), 20.0, 1.0), np.float64)
    matrix[:, 2] += (side - frame.shape[1]) / 2, (side - frame.shape[0]) / 2
    return np.asarray(cv2.warpAffine(frame, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _judge_whole(bundle: Bundle, session: Session, picture: Image) -> Verdict:
    looked = look(session, bundle.manifest, picture)
    return judge_prediction(
        looked.prediction,
        bundle.calibration,
        looked.reduction,
        image_hw=(picture.shape[0], picture.shape[1]),
        name="",
        bundle_id=bundle.bundle_id,
        placed=looked.placed,
    )


def _readme(template: str, facts: Mapping[str, Any], programs: Sequence[str], check: EngineCheck) -> bytes:
    limits = (
        "No zone and no rules are set in this bundle: the score alone decides."
        if facts["score_decides"]
        else "**This bundle has a zone or rules** (see `model.json`), so that the score of the graph alone does not "
        "decide. The programs refuse it: inspect with the package, or export a bundle without them."
    )
    tiles = "" if facts["tile_px"] is None else TILES_NOTE.format(**facts)
    if facts["alignment"] is not None:
        height, width = facts["alignment"]["frame_hw"]
        tiles = ALIGNMENT_NOTE.format(height=height, width=width, reading=READING)
    bits = (
        "16-bit values are divided by 257 and rounded."
        if facts["bits"] is None
        else f"The camera has {facts['bits']} bits: a value v becomes v x 255 / {2 ** facts['bits'] - 1}, rounded."
    )
    text = template.format(
        **{name: facts[name] for name in ("detector", "bundle_id", "input_height", "input_width", "resize_rule")},
        version=__version__,
        graph_files=" and ".join(f"`{name}`" for name in facts["files_sha256"]),
        num_check=len(facts["check"]),
        programs=", ".join(f"`{name}`" for name in programs),
        first_program=programs[0],
        tiles=tiles,
        bits=bits,
        limits=limits,
        num_compared=check.num_images,
        score_difference=check.score_difference,
        changed=check.num_flips,
    )
    return text.encode()


def _ppm(image: Image) -> bytes:
    return bytes(cv2.imencode(".ppm", image[..., ::-1])[1].tobytes())
