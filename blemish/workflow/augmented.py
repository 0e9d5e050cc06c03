"""What a training was shown: good images of the bundle under the augmentation that its settings declare."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from blemish.bundle.bundle import Bundle
from blemish.schema import Image
from blemish.synthesis.augment import NONE, augment, augmentation_samples, parse_augmentation

NUM_MORE = 2
"""Images shown under all changes together, after the first."""
NUM_DRAWS = 6

NamedImage = tuple[str, Image]


def augmented_samples(bundle: Bundle) -> tuple[tuple[NamedImage, ...], ...]:
    """Rows of named images: a training image of the bundle, then forms that the declared augmentation made of it.

    The first row shows each change alone and all together, the others all together. Empty where none is declared.
    """
    declared = bundle.manifest.settings.get("augmentation")
    # As a bundle holds it; the text form could name a file, which a bundle has no right to have read.
    augmentation = parse_augmentation(declared) if isinstance(declared, dict) else NONE
    if augmentation == NONE:
        return ()
    images = [image for sample in bundle.samples if (image := _decode(sample, bundle.manifest.input_hw)) is not None]
    rows = [tuple(augmentation_samples(image, augmentation)) for image in images[:1]]
    for number, image in enumerate(images[1 :: max(1, len(images) // NUM_MORE)][:NUM_MORE], start=1):
        draws = [augment(image, np.random.default_rng((number, draw)), augmentation) for draw in range(NUM_DRAWS)]
        rows.append((("original", image), *((f"together {draw + 1}", drawn) for draw, drawn in enumerate(draws))))
    return tuple(rows)


def part_sample(bundle: Bundle) -> Image | None:
    """A good image of the bundle; None where its samples are tiles and none shows a whole part."""
    if bundle.manifest.tiling is not None or not bundle.samples:
        return None
    return _decode(bundle.samples[0], bundle.manifest.input_hw)


def _decode(sample: bytes, hw: tuple[int, int]) -> Image | None:
    """The image in a PNG file of the input size; the size is read first, since a bundle may come from anywhere."""
    if sample[16:24] != struct.pack(">II", hw[1], hw[0]):
        return None
    pixels = cv2.imdecode(np.frombuffer(sample, np.uint8), cv2.IMREAD_COLOR)
    return None if pixels is None else np.ascontiguousarray(pixels[..., ::-1], np.uint8)
