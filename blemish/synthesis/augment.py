"""Augmentation of good images: declared once per product, only what keeps a good part good unless declared otherwise.

A flipped screw thread is a defect and a turned label is a defect, so flips and rotations are off until a product
declares them. Brightness, contrast, noise, shift and zoom are on, mildly: every line's light and conveyor vary.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import cv2
import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from blemish.boundary import parse_json, read_bytes, reason_of
from blemish.errors import SettingsError
from blemish.schema import Image

Unit = Annotated[float, Field(ge=0.0, le=0.5)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Augmentation:
    """Which changes leave a good part of this product good; each number is the strongest change in either direction.

    `brightness`, `contrast` and `noise` are shares of the full pixel range (noise: the standard deviation), `shift`
    and `zoom` shares of the image's side, `blur` a Gaussian's standard deviation in pixels, `rotation` in degrees.
    What moves into the image from outside is its mirrored edge.
    """

    brightness: Unit = 0.04
    contrast: Unit = 0.05
    noise: Unit = 0.01
    shift: Unit = 0.01
    zoom: Unit = 0.01
    blur: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    quarter_turns: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False


MAX_BYTES = 100_000
"""Of a file that declares an augmentation."""
_OBJECT = TypeAdapter(dict[str, Any])
NONE = Augmentation(brightness=0.0, contrast=0.0, noise=0.0, shift=0.0, zoom=0.0)
"""No change at all."""


def _parsed(value: Any) -> Any:
    """The text form: `none`, `default`, a JSON file, or pairs such as `rotation=180,flip_horizontal=true`."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("{"):
        return parse_json(text.encode(), _OBJECT, "augmentation", SettingsError, "write one JSON object")
    if text in ("none", "default", ""):
        return NONE if text == "none" else Augmentation()
    if text.endswith(".json"):
        return _read(Path(text))
    pairs = [part.partition("=") for part in text.split(",")]
    return {key.strip(): setting.strip() if equals else True for key, equals, setting in pairs}


Declared: TypeAlias = Annotated[Augmentation, BeforeValidator(_parsed)]
"""The type of a setting that holds an `Augmentation`, also given as `rotation=180,flip_horizontal` or `part.json`."""


def _read(path: Path) -> dict[str, Any]:
    """The one JSON object in a file; SettingsError where there is none."""
    remedy = 'write one JSON object, for example {"rotation": 180}'
    return parse_json(read_bytes(path, MAX_BYTES, SettingsError, remedy), _OBJECT, path, SettingsError, remedy)


_ADAPTER: TypeAdapter[Augmentation] = TypeAdapter(Declared)


def parse_augmentation(value: str | dict[str, Any]) -> Augmentation:
    """The `Augmentation` that a text, a mapping or a product's JSON file declares; the rest keeps its default.

    Raises SettingsError, saying which part is wrong.

    >>> parse_augmentation("rotation=180,flip_horizontal").rotation
    180.0
    >>> parse_augmentation("none") == NONE
    True
    """
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        known = ", ".join(field.name for field in fields(Augmentation))
        raise SettingsError(f"augmentation {reason_of(error)}; known are {known}") from error


def augment(image: Image, rng: np.random.Generator, augmentation: Augmentation) -> Image:
    """A changed copy of the image, same shape; all changes are drawn evenly up to the declared strengths.

    >>> plain = np.full((8, 8, 3), 100, np.uint8)
    >>> bool((augment(plain, np.random.default_rng(0), NONE) == plain).all())
    True
    """
    moved = _moved(image, rng, augmentation)
    if augmentation.blur > 0:
        sigma = rng.uniform(0.0, augmentation.blur)
        if sigma > 0.1:
            moved = np.asarray(cv2.GaussianBlur(moved, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.uint8)
    return _relit(moved, rng, augmentation)


def augmentation_samples(image: Image, augmentation: Augmentation, *, seed: int = 0) -> list[tuple[str, Image]]:
    """The image under each declared change alone, then under all of them: (what was changed, image) pairs.

    For a page that shows a person what the training will call good.
    """
    samples: list[tuple[str, Image]] = [("original", np.ascontiguousarray(image))]
    for field in fields(Augmentation):
        strength = getattr(augmentation, field.name)
        if not strength:
            continue
        alone = replace(NONE, **{field.name: strength})
        title = field.name.replace("_", " ") + ("" if strength is True else f" {strength:g}")
        # The most changed of a few draws: a person should see how far it goes.
        draws = [augment(image, np.random.default_rng((seed, draw)), alone) for draw in range(8)]
        samples.append((title, max(draws, key=lambda drawn: float(np.abs(drawn.astype(np.int16) - image).mean()))))
    samples += [
        (f"together {draw + 1}", augment(image, np.random.default_rng((seed, draw)), augmentation)) for draw in range(4)
    ]
    return samples


def _moved(image: Image, rng: np.random.Generator, augmentation: Augmentation) -> Image:
    """The image flipped, turned, rotated, zoomed and shifted, in one resampling at most."""
    if augmentation.flip_horizontal and rng.random() < 0.5:
        image = image[:, ::-1]
    if augmentation.flip_vertical and rng.random() < 0.5:
        image = image[::-1]
    height, width = image.shape[:2]
    if augmentation.quarter_turns:
        # A part that is not square on the image only allows half turns.
        image = np.rot90(image, int(rng.integers(4)) if height == width else 2 * int(rng.integers(2)))
    image = np.ascontiguousarray(image)
    if not (augmentation.rotation or augmentation.zoom or augmentation.shift):
        return image
    angle = rng.uniform(-1, 1) * augmentation.rotation
    scale = 1 + rng.uniform(-1, 1) * augmentation.zoom
    matrix = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale), np.float64)
    matrix[:, 2] += rng.uniform(-1, 1, 2) * augmentation.shift * np.array([width, height])
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def _relit(image: Image, rng: np.random.Generator, augmentation: Augmentation) -> Image:
    """The image with other brightness, contrast (around its own mean) and added noise."""
    if not (augmentation.brightness or augmentation.contrast or augmentation.noise):
        return np.ascontiguousarray(image)
    gain = 1 + rng.uniform(-1, 1) * augmentation.contrast
    offset = rng.uniform(-1, 1) * augmentation.brightness * 255
    level = float(image.mean())
    pixels = (image.astype(np.float32) - level) * gain + (level + offset)
    if augmentation.noise:
        sigma = rng.uniform(0, 1) * augmentation.noise * 255
        pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sigma)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)
