"""Arguments and options that several commands take, declared once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.errors import SettingsError

if TYPE_CHECKING:
    from blemish.schema import ReadSettings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
BundleFile = Annotated[Path, typer.Argument(help="A bundle file, made by `blemish train`.", show_default=False)]
DataFolder = Annotated[
    Path, typer.Argument(help="A folder of good images, or a data set in a known layout.", show_default=False)
]
DetectorName = Annotated[str, typer.Option("--detector", help="See `blemish detectors`.")]
BackboneName = Annotated[
    str, typer.Option("--backbone", help="A name from `blemish backbones`, or a description file.")
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="A choice of size and settings that go together: fast, balanced, accurate (`patchcore`); "
        "--size and --set override it.",
    ),
]
SizeText = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="Shorter side of the input in pixels, or HEIGHTxWIDTH, multiples of 32; left out it is chosen by small "
        "painted defects and --max-ms (with --tile it is the tile's).",
    ),
]
SettingTexts = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the detector, key=value; may be given many times.")
]
Seed = Annotated[int, typer.Option(help="Same data, settings and seed give the same graph.")]
FalseReject = Annotated[float, typer.Option(help="Wanted share of good parts that are rejected, on average.")]
Confidence = Annotated[
    float | None,
    typer.Option(
        help="Make the share a limit that holds with this confidence, for example 0.95. Left out, it is the average.",
        show_default=False,
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="What runs the graph: onnxruntime, openvino, openvino-bf16, onnxruntime-cuda, onnxruntime-directml, "
        "onnxruntime-coreml, or auto for the fastest one with equal verdicts.",
    ),
]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="Threads at once; 0: as many as there are cores.")]
Bits = Annotated[
    int | None,
    typer.Option(
        help="Bits of the camera's values (10, 12, 14) where 16-bit files hold them unshifted.", min=8, max=16
    ),
]
Page = Annotated[
    int | None, typer.Option(help="Page of files that hold several, counted from 1 without thumbnails.", min=1)
]
MaxPixels = Annotated[
    int | None, typer.Option(help="Refuse images of more pixels (500 million) before they are decoded.", min=1)
]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Go on without images that cannot be read.")]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Options from a TOML file, in a table named after the command; what is typed goes before them.",
    ),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on a Ray cluster, host:port (extra `cluster`); without an address the one of RAY_ADDRESS, one that "
        "runs on this machine, or one begun for this run.",
    ),
]

ZoneFile = Annotated[
    Path | None,
    typer.Option(
        "--zone",
        help="Mask image, white where to look, at the full size of the inspected images; or a file of `blemish zones "
        "edit`, LabelMe, COCO, CVAT or VIA with shapes named inspect and ignore.",
    ),
]
InspectZone = Annotated[
    list[str] | None,
    typer.Option(
        "--inspect-zone",
        help="Polygon where to look, 'x,y x,y x,y' in shares of width and height; may be given many times.",
    ),
]
IgnoreZone = Annotated[
    list[str] | None,
    typer.Option("--ignore-zone", help="Polygon where not to look, the same way; may be given many times."),
]
ZoneOn = Annotated[
    Path | None,
    typer.Option(
        "--zone-on", help="The good image that the zone was drawn on, where parts are laid straight (--align)."
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option("--rule", help="For example 'reject scratches longer than 2 mm'; may be given many times."),
]
MmPerPx = Annotated[float | None, typer.Option(help="Millimetres per pixel of the inspected images.")]


def read_settings(*, page: int | None, max_pixels: int | None, bits: int | None = None) -> ReadSettings:
    """How image files are to be read, from the options given."""
    from blemish.schema import MAX_PIXELS, ReadSettings

    return ReadSettings(bits, page, MAX_PIXELS if max_pixels is None else max_pixels)


def parse_size(text: str) -> int | tuple[int, int]:
    """`256` -> 256, `256x640` -> (256, 640). Raises SettingsError."""
    return int(text) if re.fullmatch(r"\d+", text) else parse_hw(text)


def parse_hw(text: str) -> tuple[int, int]:
    """`256x640` -> (256, 640). Raises SettingsError."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise SettingsError(f"size {text}: give height and width in pixels, for example 256x640")
    return int(match[1]), int(match[2])


def parse_settings(texts: list[str] | None) -> dict[str, str]:
    """`["key=value"]` -> {"key": "value"}. Raises SettingsError."""
    settings = {}
    for text in texts or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise SettingsError(f"--set {text}: give key=value, for example --set bank_size=2000")
        settings[key.strip()] = value.strip()
    return settings
