"""JPEG: markers and scans are followed from the beginning to the end mark; OpenCV decodes."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from blemish.images.codec import decode_bytes
from blemish.images.container import CUT_OFF, Container, ContainerError, Source, Stored
from blemish.images.exif import read_orientation

MAX_SCANS = 64
"""Most scans of a file; encoders write 1 to 12, and each costs a pass over all pixels."""
MAX_SEGMENTS = 100_000
"""Most segments of a header; color profiles and depth maps in pieces of 64 kB are a few hundred."""
_BLOCKS_PER_BYTE = 8
"""Each block of 64 values takes at least one bit."""

_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC9: "arithmetic", 0xCA: "arithmetic"}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
_EXIF, _ADOBE, _RESTART_INTERVAL, _NUMBER_OF_LINES = 0xE1, 0xEE, 0xDD, 0xDC
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_RESTARTS = frozenset(range(0xD0, 0xD8))


@dataclass(frozen=True)
class JpegLayout:
    """The frame of a JPEG file; `scan_at` is the place of the first scan's marker.

    `components` maps each component's number to its sampling (horizontal, vertical).
    """

    scan_at: int
    hw: tuple[int, int]
    components: dict[int, tuple[int, int]]
    is_sequential: bool
    restart_interval: int
    orientation: int
    is_adobe: bool

    @property
    def largest_sampling(self) -> tuple[int, int]:
        """The largest horizontal and vertical sampling of a component."""
        return max(pair[0] for pair in self.components.values()), max(pair[1] for pair in self.components.values())


def read_jpeg(source: Source) -> Container:
    """The facts of a JPEG file, from the segments before its first scan."""
    layout = _read_segments(source)
    if len(layout.components) == 4 and not layout.is_adobe:
        raise ContainerError("a CMYK JPEG file that does not say whether its inks are inverted")
    return Container("JPEG", layout.hw[0], layout.hw[1], layout.orientation, is_lossy=True, layout=layout)


def _read_segments(source: Source) -> JpegLayout:
    hw: tuple[int, int] | None = None
    components: dict[int, tuple[int, int]] = {}
    orientation: int | None = None
    restart_interval, is_sequential, is_adobe = 0, True, False
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker, code = source.unpack(">BB", position)
        if marker != 0xFF:
            raise ContainerError("damaged JPEG file: a marker is missing")
        if code == 0xFF:  # fill byte
            position += 1
            continue
        if code in (0x00, 0x01, _START_OF_IMAGE, _END_OF_IMAGE, *_RESTARTS):
            raise ContainerError("damaged JPEG file: a mark stands where its header should be")
        (length,) = source.unpack(">H", position + 2)
        if length < 2:
            raise ContainerError("damaged JPEG file: a segment without length")
        body, body_bytes = position + 4, length - 2
        if code in _OTHER_FRAMES:
            raise ContainerError("a JPEG file that is lossless or hierarchical")
        if code in _FRAMES:
            if hw is not None:
                raise ContainerError("damaged JPEG file: it has two frames")
            hw, components = _read_frame(source.take(body, body_bytes))
            is_sequential = code not in (0xC2, 0xCA)
        elif code == _EXIF and orientation is None and body_bytes >= 6 and source.take(body, 6) == b"Exif\0\0":
            orientation = read_orientation(source.take(body, body_bytes))
        elif code == _ADOBE and body_bytes >= 5 and source.take(body, 5) == b"Adobe":
            is_adobe = True
        elif code == _RESTART_INTERVAL and body_bytes >= 2:
            (restart_interval,) = source.unpack(">H", body)
        elif code == _START_OF_SCAN:
            break
        position += 2 + length
    else:
        raise ContainerError(f"a JPEG file of more than {MAX_SEGMENTS:,} segments")
    if hw is None:
        raise ContainerError("damaged JPEG file: its size is missing")
    return JpegLayout(position, hw, components, is_sequential, restart_interval, orientation or 1, is_adobe)


def _read_frame(body: bytes) -> tuple[tuple[int, int], dict[int, tuple[int, int]]]:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise ContainerError("damaged JPEG file: its frame is too short")
    bits, height, width, num_components = struct.unpack_from(">BHHB", body)
    if bits != 8:
        raise ContainerError(f"a JPEG file of {bits} bits; only 8 are read")
    if not height or not width:
        raise ContainerError("damaged JPEG file: its size is missing")
    if num_components not in (1, 3, 4):
        raise ContainerError(f"a JPEG file of {num_components} components")
    components = {}
    for number, sampling, _ in struct.iter_unpack(">BBB", body[6 : 6 + 3 * num_components]):
        components[number] = (sampling >> 4, sampling & 15)
    if len(components) < num_components or not all(1 <= part <= 4 for pair in components.values() for part in pair):
        raise ContainerError("damaged JPEG file: its components are wrong")
    return (height, width), components


def check_jpeg(data: bytes, container: Container) -> None:
    """Raises ContainerError where the scans are not whole up to the end mark, or more than `MAX_SCANS`.

    A mark behind the scans counts only where the structure leads to it: a thumbnail, or another file that somebody
    appended to one that was cut off, does not make it whole.
    """
    _check_scans(data, container.layout)


def check_jpeg_strip(data: bytes) -> None:
    """The same for a JPEG stream inside of another file, whose tables may stand elsewhere."""
    if not data.startswith(b"\xff\xd8"):
        raise ContainerError("damaged TIFF file: a strip or tile is no JPEG stream")
    _check_scans(data, _read_segments(Source(data)))


def _check_scans(data: bytes, layout: JpegLayout) -> None:
    seen: set[int] = set()
    position, num_scans, interval, num_coded_bytes = layout.scan_at, 0, layout.restart_interval, 0
    while True:
        found = _MARKER.match(data, position)
        if found is None:
            raise ContainerError(CUT_OFF if position >= len(data) - 1 else "damaged JPEG file: a marker is missing")
        code, position = found[1][0], found.end()
        if code == _END_OF_IMAGE:
            break
        if code in (0x01, _START_OF_IMAGE, _NUMBER_OF_LINES, *_RESTARTS, *_FRAMES, *_OTHER_FRAMES):
            raise ContainerError("damaged JPEG file: its scans are broken off")
        if position + 2 > len(data):
            raise ContainerError(CUT_OFF)
        (length,) = struct.unpack_from(">H", data, position)
        body = data[position + 2 : position + length]
        if length < 2 or len(body) < length - 2:
            raise ContainerError(CUT_OFF)
        position += length
        if code == _RESTART_INTERVAL and length >= 4:
            (interval,) = struct.unpack_from(">H", body)
        if code != _START_OF_SCAN:
            continue
        num_scans += 1
        if num_scans > MAX_SCANS:
            raise ContainerError(f"a JPEG file of more than {MAX_SCANS} scans")
        numbers = body[1 : 1 + 2 * body[0] : 2] if body else b""
        if not numbers or not set(numbers) <= set(layout.components):
            raise ContainerError("damaged JPEG file: a scan of components that it does not have")
        seen |= set(numbers)
        coded_at = position
        num_restarts, position = _skip_coded(data, position)
        num_units = _num_units(layout, bytes(numbers))
        if interval and num_restarts < -(-num_units // interval) - 1:
            raise ContainerError("damaged JPEG file: parts of a scan are missing")
        num_coded_bytes += position - coded_at
    if seen != set(layout.components):
        raise ContainerError("damaged JPEG file: scans are missing")
    if num_coded_bytes * _BLOCKS_PER_BYTE < _num_blocks(layout):
        raise ContainerError(CUT_OFF)


def _skip_coded(data: bytes, position: int) -> tuple[int, int]:
    """The number of restart marks in the coded data from `position` on, and the place of the marker after it."""
    for num_restarts, found in enumerate(_MARKER.finditer(data, position)):
        if found[1][0] not in _RESTARTS:
            return num_restarts, found.start()
    raise ContainerError(CUT_OFF)


def _num_units(layout: JpegLayout, numbers: bytes) -> int:
    """How many units a scan of these components holds; restart marks are counted by them."""
    across, down = layout.largest_sampling
    height, width = layout.hw
    if len(numbers) > 1:
        return -(-width // (8 * across)) * -(-height // (8 * down))
    horizontal, vertical = layout.components[numbers[0]]  # a scan of one component counts its own blocks
    return -(-width * horizontal // (8 * across)) * -(-height * vertical // (8 * down))


def _num_blocks(layout: JpegLayout) -> int:
    return sum(_num_units(layout, bytes([number])) for number in layout.components)


def decode_jpeg(data: bytes, container: Container) -> Stored:
    """The pixels as OpenCV's libjpeg decodes them."""
    return Stored(decode_bytes(data), 255)
