"""A tiny product and a tiny backbone: the main job in a fraction of a second, without a download.

For the tests of this package and for those of plug-ins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from blemish.files import write_file
from blemish.schema import Backbone, Image, Mask, Prediction
from blemish.weights import FORMAT, read_description

TINY_HW = (64, 64)
"""Height and width of the product's images, and the input size meant for them."""
TINY_LAYERS = (("stride4", 8, 4), ("stride8", 12, 8), ("stride16", 16, 16))
"""Name, channels and stride of the backbone's layers."""


@dataclass(frozen=True)
class PaintedDefect:
    """A good image with one painted defect, and the mask of the pixels that it changed."""

    kind: str
    image: Image
    mask: Mask


@dataclass(frozen=True)
class TinyProduct:
    """Images of a small part: `good` to fit on, `held_out` good ones for the test, and `defects`. Read-only arrays."""

    good: tuple[Image, ...]
    held_out: tuple[Image, ...]
    defects: tuple[PaintedDefect, ...]


def make_tiny_product(
    num_good: int = 16, num_held_out: int = 6, num_defects: int = 6, *, hw: tuple[int, int] = TINY_HW, seed: int = 0
) -> TinyProduct:
    """A round part with a bore and four marks on a plain table, never twice the same: place, light and noise vary.

    The defects are, in turn, a dark spot and a bright scratch, both on the part.

    >>> product = make_tiny_product(num_good=3)
    >>> len(product.good), product.good[0].shape, product.defects[1].kind
    (3, (64, 64, 3), 'scratch')
    """
    rng = np.random.default_rng(seed)
    parts = [_draw_part(hw, rng) for _ in range(num_good + num_held_out)]
    defects = []
    for number in range(num_defects):
        kind, paint = (("spot", _paint_spot), ("scratch", _paint_scratch))[number % 2]
        image = _draw_part(hw, rng)
        mask = paint(image, rng)
        defects.append(PaintedDefect(kind, _frozen(image), mask))
    frozen = tuple(_frozen(image) for image in parts)
    return TinyProduct(frozen[:num_good], frozen[num_good:], tuple(defects))


def write_tiny_product(folder: Path, product: TinyProduct | None = None) -> Path:
    """`folder`, now an MVTec AD tree of the product: `train/good`, `test`, `ground_truth/<kind>/<stem>_mask.png`."""
    product = product or make_tiny_product()
    for split, images in (("train", product.good), ("test", product.held_out)):
        for number, image in enumerate(images):
            write_png(folder / split / "good" / f"{number:03}.png", image)
    for number, defect in enumerate(product.defects):
        write_png(folder / "test" / defect.kind / f"{number:03}.png", defect.image)
        write_png(folder / "ground_truth" / defect.kind / f"{number:03}_mask.png", defect.mask.astype(np.uint8) * 255)
    return folder


def write_png(path: Path, image: NDArray[np.uint8]) -> Path:
    """`path`, now a PNG file of an RGB or gray image."""
    pixels = image[..., ::-1] if image.ndim == 3 else image
    return write_file(path, cv2.imencode(".png", pixels)[1].tobytes(), survives_power_cut=False)


def make_tiny_backbone(folder: Path) -> Backbone:
    """A backbone of 15 kB with layers of stride 4, 8 and 16, written to `folder` with its description file.

    Three convolutions with fixed random weights: good enough to tell the tiny product's defects from its good parts.
    Give `folder / "tiny.json"` where a backbone's name is asked for.
    """
    content = _build_tiny_graph()
    write_file(folder / "tiny.onnx", content)
    description = {
        "format": FORMAT,
        "name": "tiny",
        "onnx": "tiny.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": "input",
        "mean": [128.0, 128.0, 128.0],
        "std": [64.0, 64.0, 64.0],
        "layers": [{"name": name, "channels": channels, "stride": stride} for name, channels, stride in TINY_LAYERS],
        "licence": "Apache-2.0",
        "source": "random weights",
    }
    path = write_file(folder / "tiny.json", json.dumps(description).encode())
    return read_description(path)


def brightness(image: Image) -> Prediction:
    """A prediction that is easy to foresee: the map is the image's brightness, 0 to 1, and the score its maximum."""
    anomaly_map = (image.mean(axis=2) / 255).astype(np.float32)
    return Prediction(float(anomaly_map.max()), anomaly_map)


class FakeSession:
    """Stands in for `blemish.runtime.session.Session`: predicts by a function of the image and keeps what it was given.

    >>> session = FakeSession((2, 2))
    >>> [prediction] = session.predict([np.full((2, 2, 3), 255, np.uint8)])
    >>> prediction.anomaly_score, len(session.seen)
    (1.0, 1)
    """

    def __init__(self, input_hw: tuple[int, int], predict: Callable[[Image], Prediction] = brightness) -> None:
        self.input_hw = input_hw
        self.seen: list[Image] = []
        self._predict = predict

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """One prediction for each image. Raises ValueError where one has not the input size, as a graph does."""
        for image in images:
            if image.shape != (*self.input_hw, 3) or image.dtype != np.uint8:
                raise ValueError(f"expected uint8 {(*self.input_hw, 3)}, got {image.dtype} {image.shape}")
        self.seen.extend(images)
        return [self._predict(image) for image in images]


def _draw_part(hw: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    unit = min(hw) / 64
    y, x = _coordinates(hw, rng.uniform(-1, 1, 2) * unit)
    radius = np.hypot(y, x)
    gray = np.full(hw, 60.0)
    gray = _blend(gray, 150 + 8 * np.cos(radius / unit * 0.9), 26 * unit - radius)
    gray = _blend(gray, 90.0, 5 * unit - radius)
    for side_y, side_x in ((16, 0), (-16, 0), (0, 16), (0, -16)):
        gray = _blend(gray, 90.0, 2.5 * unit - np.maximum(np.abs(y - side_y * unit), np.abs(x - side_x * unit)))
    color = (gray * rng.uniform(0.96, 1.04))[..., None] * np.array([1.0, 0.96, 0.88])
    color += rng.normal(0, 2, color.shape)
    return np.asarray(np.clip(np.rint(color), 0, 255), np.uint8)


def _blend(below: NDArray[np.float64], above: NDArray[np.float64] | float, inside: NDArray[np.float64]) -> NDArray[Any]:
    """`above` where `inside`, a distance to the border in pixels, is positive; edges are one pixel soft."""
    cover = np.clip(inside + 0.5, 0, 1)
    return below + cover * (above - below)


def _coordinates(hw: tuple[int, int], shift: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distances down and right of the image's middle, moved by `shift`, in pixels."""
    y, x = np.mgrid[: hw[0], : hw[1]] + 0.5
    return y - hw[0] / 2 - shift[0], x - hw[1] / 2 - shift[1]


def _paint_spot(image: NDArray[np.uint8], rng: np.random.Generator) -> Mask:
    unit = min(image.shape[:2]) / 64
    turn = rng.uniform(0, 2 * np.pi)
    y, x = _coordinates(image.shape[:2], 14 * unit * np.array([np.sin(turn), np.cos(turn)]))
    mask: Mask = np.hypot(y, x) < rng.uniform(5, 7) * unit
    image[mask] = image[mask] // 4
    return mask


def _paint_scratch(image: NDArray[np.uint8], rng: np.random.Generator) -> Mask:
    unit = min(image.shape[:2]) / 64
    turn = rng.uniform(0, 2 * np.pi)
    y, x = _coordinates(image.shape[:2], 14 * unit * np.array([np.sin(turn), np.cos(turn)]))
    slant = turn + rng.uniform(-0.5, 0.5)
    along, across = y * np.sin(slant) + x * np.cos(slant), y * np.cos(slant) - x * np.sin(slant)
    mask: Mask = (np.abs(across) < 2.2 * unit) & (np.abs(along) < 9 * unit)
    image[mask] = (245, 245, 235)
    return mask


def _frozen(image: NDArray[np.uint8]) -> Image:
    image.flags.writeable = False
    return image


def _build_tiny_graph() -> bytes:
    rng = np.random.default_rng(7)
    nodes, initializers, outputs = [], [], []
    previous, channels_before, stride_before = "input", 3, 1
    for name, channels, stride in TINY_LAYERS:
        step = stride // stride_before
        weight = _smooth_filters(rng, channels, channels_before, 2 * step)
        initializers.append(numpy_helper.from_array(weight, f"{name}.weight"))
        initializers.append(numpy_helper.from_array(np.full(channels, 1.5, np.float32), f"{name}.bias"))
        nodes.append(
            helper.make_node(
                "Conv",
                [previous, f"{name}.weight", f"{name}.bias"],
                [f"{name}.linear"],
                strides=[step, step],
                auto_pad="SAME_UPPER",
            )
        )
        nodes.append(helper.make_node("Relu", [f"{name}.linear"], [name]))
        shape: list[int | str | None] = ["batch", channels, f"height{stride}", f"width{stride}"]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        previous, channels_before, stride_before = name, channels, stride
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    graph = helper.make_graph(nodes, "tiny", [image], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _smooth_filters(rng: np.random.Generator, channels: int, inputs: int, side: int) -> NDArray[np.float32]:
    """Random mixtures of the nine smoothest cosine patterns of a square, so that they see shapes rather than noise."""
    place = (np.arange(side) + 0.5) / side
    waves = np.stack([np.cos(np.pi * frequency * place) for frequency in range(3)]) / side
    mixture = rng.normal(0, 0.6, (channels, inputs, 3, 3)) / np.sqrt(inputs)
    filters = np.einsum("oiuv,ua,vb->oiab", mixture, waves, waves)
    return np.asarray(filters, np.float32)
