"""TIFF and BigTIFF: what the tags of a page say about its values; only the tags that decide are read.

Everything that baseline TIFF lets a file say about the meaning of its values is either understood or refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blemish.images.container import CUT_OFF, Container, ContainerError, Source

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 4096
"""Most pages (directories) of a file that are looked at."""
MAX_SAMPLES = 4
"""Most samples of a pixel; more are measurements, not a picture."""
MAX_TABLE_BYTES = 1 << 20
"""Largest tag that is read besides the places of the pixels."""
TILE_ROOM = 1 << 24
"""Tiles may reach over the image's edge by three times the image, or together by this many pixels."""

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 266, 273, 274, 277, 278, 279
PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR, COLOR_MAP = 284, 292, 293, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_DIRECTORIES = 322, 323, 324, 325, 330
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, INDEXED, JPEG_TABLES = 332, 338, 339, 346, 347
CHROMA_COEFFICIENTS, CHROMA_SAMPLING, CHROMA_PLACE, REFERENCE_BLACK_WHITE = 529, 530, 531, 532
IMAGE_DEPTH = 32997
_PASSED_ON = frozenset({CHROMA_COEFFICIENTS, REFERENCE_BLACK_WHITE, JPEG_TABLES})  # read by libtiff alone
_WANTED = frozenset(
    {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION}
    | {SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR, COLOR_MAP, TILE_WIDTH}
    | {TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_DIRECTORIES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, INDEXED}
    | {CHROMA_SAMPLING, CHROMA_PLACE, IMAGE_DEPTH}
    | _PASSED_ON
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, TRANSPARENCY, CMYK, YCBCR = 0, 1, 2, 3, 4, 5, 6
_PHOTOMETRICS = {
    TRANSPARENCY: "a transparency mask",
    8: "CIELab colors",
    9: "ICCLab colors",
    10: "ITULab colors",
    32803: "the raw values of a color filter array",
    32844: "LogL values",
    32845: "LogLuv colors",
    34892: "the raw values of a camera",
}
NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
FAX = (2, 3, 4)
OWN_COMPRESSIONS = frozenset({NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS})
"""Those whose bytes become samples by our own rules; FAX and JPEG are left to libtiff as a whole."""
_COMPRESSION_NAMES = {
    6: "old JPEG",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_SAMPLE_BITS = {"u": (*range(1, 17), 32), "i": (8, 16, 32), "f": (16, 32, 64)}
SampleKind = Literal["u", "i", "f"]


@dataclass(frozen=True)
class Entry:
    """One tag of a directory: the type of its values, their number and where they stand."""

    kind: int
    count: int
    place: int

    @property
    def num_bytes(self) -> int:
        return _SIZES[self.kind] * self.count


@dataclass(frozen=True)
class Page:
    """What a directory says of its image; `blocks` are strips or tiles of `block_hw` pixels, plane after plane.

    `order` is the byte order ("<" or ">"); `offsets` and `counts` tell where the blocks stand.
    """

    order: Literal["<", ">"]
    is_big: bool
    entries: Mapping[int, Entry]
    height: int
    width: int
    orientation: int
    bits: int
    kind: SampleKind
    samples: int
    photometric: int
    compression: int
    predictor: int
    is_planar: bool
    is_bit_reversed: bool
    is_tiled: bool
    has_alpha: bool
    block_hw: tuple[int, int]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    color_map: NDArray[np.uint16] | None

    @property
    def num_planes(self) -> int:
        return self.samples if self.is_planar else 1

    @property
    def samples_per_block(self) -> int:
        return 1 if self.is_planar else self.samples

    @property
    def grid(self) -> tuple[int, int]:
        """The number of blocks of one plane: down, across."""
        return -(-self.height // self.block_hw[0]), -(-self.width // self.block_hw[1])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a block, once it is decompressed."""
        return (self.block_hw[1] * self.samples_per_block * self.bits + 7) // 8

    @property
    def is_for_libtiff(self) -> bool:
        """Whether libtiff turns the page into colors: its compression or its colors are no matter of single samples."""
        return self.compression not in OWN_COMPRESSIONS or self.photometric == YCBCR


class Directories:
    """The chain of directories of a TIFF file, read tag by tag."""

    def __init__(self, source: Source) -> None:
        head = source.take(0, 4)
        self.source = source
        self.order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
        self.is_big = head in (b"II+\0", b"MM\0+")
        self._word, self._word_size = ("Q", 8) if self.is_big else ("I", 4)
        self._room = source.size
        if self.is_big and source.unpack(self.order + "HH", 4) != (8, 0):
            raise ContainerError("damaged TIFF file: its header is wrong")

    def chain(self) -> list[dict[int, Entry]]:
        """The wanted tags of each directory, in order; at most `MAX_PAGES` of them."""
        (place,) = self.source.unpack(self.order + self._word, 8 if self.is_big else 4)
        seen: set[int] = set()
        directories: list[dict[int, Entry]] = []
        while place and len(directories) < MAX_PAGES:
            if place in seen:
                raise ContainerError("damaged TIFF file: its pages run in a circle")
            seen.add(place)
            entries, place = self._read(place)
            directories.append(entries)
        if not directories:
            raise ContainerError("damaged TIFF file: it has no page")
        return directories

    def _read(self, place: int) -> tuple[dict[int, Entry], int]:
        """The wanted tags of one directory, and the place of the next (0: none)."""
        layout = self.order + ("Q" if self.is_big else "H")
        (num_entries,) = self.source.unpack(layout, place)
        entry_bytes, start = 4 + 2 * self._word_size, place + (8 if self.is_big else 2)
        if num_entries > 65535:
            raise ContainerError("damaged TIFF file: a page of more than 65,535 tags")
        self._room -= num_entries * entry_bytes
        if self._room < 0:
            raise ContainerError("damaged TIFF file: its pages share the same bytes")
        table = np.frombuffer(self.source.take(start, num_entries * entry_bytes), np.uint8)
        tags = table.reshape(num_entries, entry_bytes)[:, :2].copy().view(self.order + "u2").ravel()
        entries: dict[int, Entry] = {}
        for number in np.flatnonzero(np.isin(tags, sorted(_WANTED))).tolist():
            at = start + number * entry_bytes
            tag, kind, count = self.source.unpack(self.order + "HH" + self._word, at)
            if tag in entries:
                raise ContainerError(f"damaged TIFF file: tag {tag} stands twice")
            if kind not in _SIZES:
                raise ContainerError(f"damaged TIFF file: tag {tag} is of the unknown type {kind}")
            values_at = at + 4 + self._word_size
            if _SIZES[kind] * count > self._word_size:
                (values_at,) = self.source.unpack(self.order + self._word, values_at)
                if values_at + _SIZES[kind] * count > self.source.size:
                    raise ContainerError(CUT_OFF)
            entries[tag] = Entry(kind, count, values_at)
        (following,) = self.source.unpack(self.order + self._word, start + num_entries * entry_bytes)
        return entries, following

    def values(self, entries: Mapping[int, Entry], tag: int, most: int) -> NDArray[np.int64]:
        """The whole numbers of a tag, at most `most` of them; empty where the tag is missing."""
        entry = entries.get(tag)
        if entry is None:
            return np.zeros(0, np.int64)
        layout = _WHOLE_NUMBERS.get(entry.kind)
        if layout is None:
            raise ContainerError(f"damaged TIFF file: tag {tag} holds no whole numbers")
        count = min(entry.count, most)
        raw = self.source.take(entry.place, count * _SIZES[entry.kind])
        values = np.frombuffer(raw, np.dtype(layout).newbyteorder(self.order))
        if values.size and int(values.max()) >= 1 << 62:
            raise ContainerError(CUT_OFF)
        return values.astype(np.int64)

    def value(self, entries: Mapping[int, Entry], tag: int, default: int) -> int:
        """The first whole number of a tag."""
        values = self.values(entries, tag, 1)
        return int(values[0]) if values.size else default


def read_tiff(source: Source, page: int | None = None) -> Container:
    """The facts of one page of a TIFF file: of number `page`, else of the first.

    Reduced copies (thumbnails) and transparency masks are no pages and do not count.
    """
    directories = Directories(source)
    chain = directories.chain()
    full = [entries for entries in chain if not _is_reduced(directories, entries)]
    if not full and any(SUB_DIRECTORIES in entries for entries in chain):
        raise ContainerError(
            "a TIFF file that holds only a preview; the image stands in a sub-directory, as raw files do"
        )
    pages = full or chain
    number = page or 1
    if number > len(pages):
        raise ContainerError(f"there is no page {number}: it has {len(pages)}")
    described = describe_page(directories, pages[number - 1])
    return Container(
        "TIFF",
        described.height,
        described.width,
        described.orientation,
        num_pages=len(pages),
        page=number,
        bits=described.bits,
        has_alpha=described.has_alpha,
        is_lossy=described.compression == JPEG,
        layout=described,
    )


def _is_reduced(directories: Directories, entries: Mapping[int, Entry]) -> bool:
    """Whether a directory holds a smaller copy of another, or the mask of its transparency."""
    reduced, mask, old_reduced = 1, 4, 2
    if directories.value(entries, SUBFILE, 0) & (reduced | mask):
        return True
    if directories.value(entries, OLD_SUBFILE, 0) == old_reduced:
        return True
    return directories.value(entries, PHOTOMETRIC, -1) == TRANSPARENCY


def describe_page(directories: Directories, entries: Mapping[int, Entry]) -> Page:
    """What the tags of a directory say; raises ContainerError where they say what is not understood."""

    def value(tag: int, default: int) -> int:
        return directories.value(entries, tag, default)

    height, width, samples = value(HEIGHT, 0), value(WIDTH, 0), value(SAMPLES, 1)
    if not 0 < height < 1 << 31 or not 0 < width < 1 << 31:
        raise ContainerError("damaged TIFF file: its size is missing")
    if not 1 <= samples <= MAX_SAMPLES:
        raise ContainerError(f"a TIFF file of {samples} channels; at most {MAX_SAMPLES} can be read")
    if value(IMAGE_DEPTH, 1) > 1:
        raise ContainerError("a TIFF file of a volume, not of an image")
    bits = _one_for_all(directories, entries, BITS, samples, 1, "bits")
    kind = _sample_kind(directories, entries, samples)
    if bits not in _SAMPLE_BITS[kind]:
        kinds = {"u": "whole", "i": "signed", "f": "floating point"}
        raise ContainerError(f"a TIFF file of {kinds[kind]} numbers with {bits} bits")
    compression = value(COMPRESSION, NONE)
    if compression not in (*OWN_COMPRESSIONS, *FAX, JPEG):
        name = _COMPRESSION_NAMES.get(compression, "an unknown kind")
        raise ContainerError(f"a TIFF file whose compression is {name} ({compression})")
    if compression in FAX and (bits, samples) != (1, 1):
        raise ContainerError(f"a TIFF file with fax compression of {samples} channels with {bits} bits")
    if compression == JPEG and (bits, kind) != (8, "u"):
        raise ContainerError(f"a TIFF file with JPEG compression of {bits} bits")
    predictor = value(PREDICTOR, 1)
    _check_predictor(predictor, compression, bits, kind)
    is_planar = _choice(value(PLANAR, 1), {1: False, 2: True}, "planar configuration") and samples > 1
    is_bit_reversed = _choice(value(FILL_ORDER, 1), {1: False, 2: True}, "fill order")
    if PHOTOMETRIC not in entries:
        raise ContainerError("damaged TIFF file: it does not say what its values mean (photometric interpretation)")
    photometric = value(PHOTOMETRIC, -1)
    extra = directories.values(entries, EXTRA_SAMPLES, MAX_SAMPLES).tolist()
    _check_colors(photometric, samples, bits, kind, extra, is_declared=EXTRA_SAMPLES in entries)
    if photometric == CMYK and value(INK_SET, 1) != 1:
        raise ContainerError("a TIFF file of inks other than CMYK")
    if value(INDEXED, 0):
        raise ContainerError("a TIFF file with a palette of another color space")
    if photometric == YCBCR and (bits, is_planar) != (8, False):
        raise ContainerError("a TIFF file of YCbCr colors in planes, or not with 8 bits")
    if compression == JPEG and is_planar:
        raise ContainerError("a TIFF file with JPEG compression in planes")
    orientation = value(ORIENTATION, 1)
    is_tiled = TILE_OFFSETS in entries
    block_hw = _block_hw(directories, entries, height, width, is_tiled)
    num_planes = samples if is_planar else 1
    offsets, counts = _places(directories, entries, height, width, block_hw, num_planes, is_tiled)
    return Page(
        order=directories.order,
        is_big=directories.is_big,
        entries=entries,
        height=height,
        width=width,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        bits=bits,
        kind=kind,
        samples=samples,
        photometric=photometric,
        compression=compression,
        predictor=predictor,
        is_planar=is_planar,
        is_bit_reversed=is_bit_reversed,
        is_tiled=is_tiled,
        has_alpha=bool({1, 2} & set(extra)),
        block_hw=block_hw,
        offsets=offsets,
        counts=counts,
        color_map=_color_map(directories, entries, bits) if photometric == PALETTE else None,
    )


def _choice(value: int, meanings: Mapping[int, bool], name: str) -> bool:
    if value not in meanings:
        raise ContainerError(f"damaged TIFF file: {name} {value}")
    return meanings[value]


def _one_for_all(
    directories: Directories, entries: Mapping[int, Entry], tag: int, samples: int, default: int, name: str
) -> int:
    """The value of a tag that holds one for each sample, which must agree."""
    values = set(directories.values(entries, tag, samples).tolist())
    if len(values) > 1:
        raise ContainerError(f"a TIFF file whose channels differ in their {name}: {sorted(values)}")
    return int(values.pop()) if values else default


def _sample_kind(directories: Directories, entries: Mapping[int, Entry], samples: int) -> SampleKind:
    number = _one_for_all(directories, entries, SAMPLE_FORMAT, samples, _UNSIGNED, "number types")
    kinds: dict[int, SampleKind] = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f", _UNDEFINED: "u"}
    if number not in kinds:
        raise ContainerError("a TIFF file of complex numbers" if number in (5, 6) else f"damaged TIFF file: {number}")
    return kinds[number]


def _check_predictor(predictor: int, compression: int, bits: int, kind: str) -> None:
    if predictor == 1:
        return
    if predictor not in (2, 3):
        raise ContainerError(f"damaged TIFF file: predictor {predictor}")
    if compression not in (LZW, DEFLATE, OLD_DEFLATE):
        raise ContainerError(f"a TIFF file with a predictor that its compression ({compression}) does not have")
    if predictor == 2 and bits not in (8, 16, 32, 64):
        raise ContainerError(f"a TIFF file with differences of values with {bits} bits")
    if predictor == 3 and kind != "f":
        raise ContainerError("a TIFF file with the predictor of floating point values, but whole numbers")


def _check_colors(photometric: int, samples: int, bits: int, kind: str, extra: list[int], *, is_declared: bool) -> None:
    """Raises ContainerError where photometric interpretation, channels and number type do not go together."""
    own = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}.get(photometric)
    if own is None:
        what = _PHOTOMETRICS.get(photometric, f"values of the unknown meaning {photometric}")
        raise ContainerError(f"a TIFF file of {what}")
    if samples < own:
        raise ContainerError(f"damaged TIFF file: {samples} channels for photometric interpretation {photometric}")
    if is_declared and len(extra) != samples - own:
        raise ContainerError(f"damaged TIFF file: {len(extra)} of {samples} channels are said to be extra ones")
    if not is_declared and own == 1 and samples > 2:
        raise ContainerError(f"a TIFF file of {samples} channels that are said to be gray; write it as RGB")
    if photometric == PALETTE and (kind != "u" or bits > 8):
        raise ContainerError(f"a TIFF file with a palette of {bits} bits")
    if photometric == CMYK and (kind != "u" or bits not in (8, 16)):
        raise ContainerError(f"a TIFF file of CMYK colors with {bits} bits")
    if photometric == WHITE_IS_ZERO and kind != "u":
        raise ContainerError("a TIFF file whose white is zero, of signed or floating point numbers")


def _block_hw(
    directories: Directories, entries: Mapping[int, Entry], height: int, width: int, is_tiled: bool
) -> tuple[int, int]:
    """Height and width of a strip or tile."""
    if not is_tiled:
        rows = directories.value(entries, ROWS_PER_STRIP, height)
        if rows < 1:
            raise ContainerError("damaged TIFF file: strips without rows")
        return min(rows, height), width
    tile_hw = directories.value(entries, TILE_HEIGHT, 0), directories.value(entries, TILE_WIDTH, 0)
    if min(tile_hw) < 1 or STRIP_OFFSETS in entries:
        raise ContainerError("damaged TIFF file: its tiles are wrong")
    covered = math.prod(-(-side // tile) * tile for side, tile in zip((height, width), tile_hw, strict=True))
    if covered > max(4 * height * width, TILE_ROOM):
        raise ContainerError(f"damaged TIFF file: tiles of {tile_hw[1]} x {tile_hw[0]} for {width} x {height} pixels")
    return tile_hw


def _places(
    directories: Directories,
    entries: Mapping[int, Entry],
    height: int,
    width: int,
    block_hw: tuple[int, int],
    num_planes: int,
    is_tiled: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offset and number of bytes of each block, all within the file and together not larger than it."""
    num_blocks = num_planes * -(-height // block_hw[0]) * -(-width // block_hw[1])
    offsets = directories.values(entries, TILE_OFFSETS if is_tiled else STRIP_OFFSETS, num_blocks)
    counts = directories.values(entries, TILE_COUNTS if is_tiled else STRIP_COUNTS, num_blocks)
    if len(offsets) < num_blocks:
        raise ContainerError("damaged TIFF file: the places of its pixels are missing")
    if len(counts) < num_blocks:
        raise ContainerError("damaged TIFF file: it does not say how many bytes its pixels take")
    if (offsets + counts > directories.source.size).any():
        raise ContainerError(CUT_OFF)
    if (counts == 0).any():
        raise ContainerError("a TIFF file that leaves pixels out")
    if int(counts.sum()) > directories.source.size:
        raise ContainerError("a TIFF file whose strips or tiles share the same bytes")
    return offsets, counts


def _color_map(directories: Directories, entries: Mapping[int, Entry], bits: int) -> NDArray[np.uint16]:
    colors = directories.values(entries, COLOR_MAP, 3 << bits)
    if len(colors) != 3 << bits:
        raise ContainerError("damaged TIFF file: its palette is missing or of a wrong size")
    return colors.astype(np.uint16).reshape(3, 1 << bits)
