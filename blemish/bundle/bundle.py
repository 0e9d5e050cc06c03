"""The bundle in memory: what a `.blemish` file holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydantic import TypeAdapter

from blemish.bundle.manifest import Manifest
from blemish.schema import Calibration, Sensitivity
from blemish.schema.meaning import Many

CALIBRATION = TypeAdapter(Calibration)
HISTORY = TypeAdapter(Many[Calibration])
SENSITIVITY = TypeAdapter(Sensitivity)


@dataclass(frozen=True)
class Bundle:
    """A fitted and calibrated detector.

    `history` holds the calibrations that were in force before, oldest first; `samples` are PNG files of good images
    at the input size, kept for checks of engines and exports. `sensitivity` says which painted defects are found under
    the calibration in force; None where that was not measured. `ancestors` are bundle files, oldest first, that this
    one was taught from, one for each row of its lineage; none of them holds ancestors itself. `place` is where it was
    read, for messages.
    """

    manifest: Manifest
    graph: bytes = field(repr=False)
    calibration: Calibration = field(repr=False)
    history: tuple[Calibration, ...] = field(default=(), repr=False)
    samples: tuple[bytes, ...] = field(default=(), repr=False)
    sensitivity: Sensitivity | None = field(default=None, repr=False)
    ancestors: tuple[bytes, ...] = field(default=(), repr=False)
    place: str = field(default="the bundle", compare=False)

    @cached_property
    def graph_sha256(self) -> str:
        return hashlib.sha256(self.graph).hexdigest()

    @cached_property
    def bundle_id(self) -> str:
        """16 hex digits that change with all that decides about an image, and with nothing else.

        That is the graph, the calibration, and of the manifest input size, tiles, resize rule, reduction, bits,
        page and alignment. When, by whom and why a calibration was made does not count: equal decisions have equal
        names.
        """
        decides = replace(self.calibration, created="", by="", reason="")
        parts = (CALIBRATION.dump_json(decides), self.manifest.deciding.encode())
        hashes = self.graph_sha256 + "".join(hashlib.sha256(part).hexdigest() for part in parts)
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]

    @property
    def carried(self) -> frozenset[int]:
        """Numbers in the history (from 1) of calibrations made before int8 that hold for this graph too."""
        facts = self.manifest.facts.get("int8")
        numbers = facts.get("carried") if isinstance(facts, dict) else None
        return frozenset(n for n in numbers if isinstance(n, int)) if isinstance(numbers, list) else frozenset()

    def with_calibration(self, calibration: Calibration) -> Bundle:
        """The same graph under another calibration; the one in force until now goes into the history.

        What was measured of its sensitivity does not hold any more.
        """
        return replace(self, calibration=calibration, history=(*self.history, self.calibration), sensitivity=None)
