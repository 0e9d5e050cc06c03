"""The history of calibrations: nothing is lost, anything can be restored."""

import dataclasses

import pytest

from blemish.decisions.history import replace_calibration, restore_calibration
from blemish.decisions.thresholds import calibrate
from blemish.errors import CalibrationError

FIRST = dataclasses.replace(
    calibrate([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], graph_sha256="a", method="split"), created="2026-01-01", by="ann"
)
SECOND = dataclasses.replace(FIRST, image_threshold=2.5, created="2026-02-01", by="bob", reason="fewer escapes")


def test_the_replaced_calibration_is_kept() -> None:
    assert replace_calibration(FIRST, SECOND, ()) == (SECOND, (FIRST,))


def test_an_old_calibration_returns_as_a_new_entry() -> None:
    present, history = restore_calibration(
        SECOND, (FIRST,), 1, created="2026-03-01", by="cleo", reason="too many rejects"
    )
    assert present == dataclasses.replace(FIRST, created="2026-03-01", by="cleo", reason="too many rejects")
    assert history == (FIRST, SECOND)


def test_a_number_that_is_not_there() -> None:
    with pytest.raises(CalibrationError, match=r"no calibration number 2 in the history \(numbers 1 to 1\)"):
        restore_calibration(SECOND, (FIRST,), 2, created="", by="", reason="")
    with pytest.raises(CalibrationError, match=r"\(none yet\)"):
        restore_calibration(SECOND, (), 1, created="", by="", reason="")


def test_a_calibration_of_another_graph_is_refused() -> None:
    with pytest.raises(CalibrationError, match="graph"):
        replace_calibration(FIRST, dataclasses.replace(SECOND, graph_sha256="b"), ())
