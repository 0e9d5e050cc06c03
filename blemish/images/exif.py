"""The one fact of an EXIF block that changes a picture: its orientation."""

from __future__ import annotations

import struct

_ORIENTATION, _SHORT, _LONG = 274, 3, 4
_ENTRY_BYTES = 12


def read_orientation(exif: bytes) -> int:
    """The orientation that an EXIF block notes, 1 to 8; 1 where there is none or the block is damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (num_entries,) = struct.unpack_from(order + "H", exif, directory)
        for place in range(directory + 2, directory + 2 + num_entries * _ENTRY_BYTES, _ENTRY_BYTES):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, place)
            if tag == _ORIENTATION:
                layout = {_SHORT: "H", _LONG: "I"}.get(kind)
                if layout is None or not count:
                    return 1
                (value,) = struct.unpack_from(order + layout, exif, place + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
