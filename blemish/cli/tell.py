"""What `inspect` tells a person or a program of the events of a stream, and the exit status in the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from blemish.cli.console import EXIT_DRIFT, EXIT_REJECT, EXIT_USER, print_json, say, show
from blemish.cli.places import say_left_out
from blemish.datasets.left_out import FAULTS, LeftOut, left_out_json, left_out_notes
from blemish.decisions.doubt import is_wrong_bundle
from blemish.decisions.lot import lot_sentence
from blemish.line.events import DriftAlarm, End, Event, Judged, LotJudged, Notice, SinkFault, Unreadable
from blemish.line.sinks import event_row

SCALE = "scores are 0 to 100, rejected above 50"
HEADER = f"verdict  score  image   ({SCALE})"


class Teller:
    """Tells a person or a program of the events of a stream, and knows in the end how it went.

    `bundle` is what the bundle is called in the question whether it is the right one.
    """

    def __init__(self, *, bundle: str, is_json: bool, is_lot: bool, is_endless: bool) -> None:
        self.num_images = 0
        self._is_endless = is_endless
        self._is_json, self._is_lot = is_json, is_lot
        self._left_out: list[LeftOut] = []
        self._lot_rows: list[dict[str, Any]] = []
        self._num_faults = 0
        self._num_unread = 0
        self._has_reject = self._has_drift = False
        self._num_judged = self._num_rejected = 0
        self._bundle = bundle

    def status(self, *, fail_on_reject: bool, fail_on_drift: bool) -> int:
        """The exit status of what was told."""
        if self._num_unread or self._num_faults:
            return EXIT_USER
        if fail_on_drift and self._has_drift:
            return EXIT_DRIFT
        return EXIT_REJECT if fail_on_reject and self._has_reject else 0

    def tell(self, event: Event) -> None:
        if isinstance(event, LeftOut):
            self._left_out.append(event)
            if not self._is_endless:  # more may follow, to be told in one line
                return
        self._tell_left_out()
        if isinstance(event, Judged):
            self._tell_verdict(event)
        elif isinstance(event, Unreadable):
            self.num_images += 1
            self._tell_unread(event.error, event_row(event))
        elif isinstance(event, DriftAlarm):
            self._has_drift = True
            say(event.report.sentence)
            if self._is_json:
                print_json(event_row(event))
        elif isinstance(event, LotJudged):
            self._tell_lot(event)
        elif isinstance(event, SinkFault):
            self._num_faults += 1
            if event.is_first:
                say(f"blemish: {event.error}; verdicts go on")
        elif isinstance(event, Notice):
            say(event.message)
        elif isinstance(event, End):
            self._tell_end(event)

    def _tell_verdict(self, event: Judged) -> None:
        self.num_images += 1
        verdict = event.verdict
        self._num_judged += 1
        self._num_rejected += verdict.decision == "reject"
        if not self._is_lot:
            self._has_reject |= verdict.decision == "reject"
        if not self._is_json:
            if self._num_judged == 1 and sys.stdout.isatty():
                say(HEADER)
            count = len(verdict.regions) + verdict.num_more_regions
            found = f"  {count} region{'s' if count > 1 else ''}" if count else ""
            show(f"{verdict.decision:7}  {verdict.display_score:5.1f}  {verdict.path}{found}")
        elif self._is_lot:
            self._lot_rows.append(event_row(event) or {})
        else:
            print_json(event_row(event))

    def _tell_unread(self, error: object, row: Mapping[str, Any] | None) -> None:
        self._num_unread += 1
        say(f"blemish: {error}")
        if self._is_json:
            print_json(row)

    def _tell_left_out(self) -> None:
        """What could not be looked at is an error of its own; the rest is one line for each reason."""
        left_out, self._left_out = self._left_out, []
        by_rule = [item for item in left_out if item.reason not in FAULTS]
        say_left_out(by_rule)
        for row in left_out_json(by_rule) if self._is_json else ():
            print_json({"event": "left_out", **row})
        for item in left_out:
            if item.reason in FAULTS:
                [note] = left_out_notes([item])
                self._tell_unread(note, {"path": str(item.path), "error": note})

    def _tell_lot(self, event: LotJudged) -> None:
        say(lot_sentence(event.lot))
        self._has_reject |= event.lot.num_rejected > 0
        for row, is_rejected in zip(self._lot_rows, event.lot.is_rejected, strict=False):
            print_json({**row, "lot_rejected": is_rejected})
        self._lot_rows = []
        if not self._is_json:
            for name, is_rejected in zip(event.names, event.lot.is_rejected, strict=True):
                if is_rejected:
                    show(f"rejected in the lot: {name}")

    def _tell_end(self, end: End) -> None:
        counts = ", ".join(f"{end.counts[name]} {name}" for name in ("accept", "review", "reject") if end.counts[name])
        say(
            f"{sum(end.counts.values()) - end.counts['unreadable']} images: {counts or 'none judged'}"
            + (f", {self._num_unread} unreadable" if self._num_unread else "")
            + (f", {end.num_missed} went by unseen" if end.num_missed else "")
            + ("" if self._is_json or not self._num_judged else f"; {SCALE}")
            + f"; {end.num_images / end.seconds:.1f} images per second"
        )
        if is_wrong_bundle(self._num_rejected, self._num_judged):
            say(
                f"{self._num_rejected} of {self._num_judged} images are rejected: is this the right bundle? "
                f"{self._bundle}. If the parts are good, light, focus, camera or position may have changed."
            )
        if self._num_faults:
            say(
                f"blemish: {self._num_faults} times an output file could not be written; "
                "the verdicts shown here are complete"
            )
