"""What a user asks of a calibration."""

from __future__ import annotations

from dataclasses import dataclass

from blemish.errors import SettingsError
from blemish.schema import Costs


@dataclass(frozen=True)
class CalibrationSettings:
    """Wanted rates among good parts, and how they are meant.

    `false_reject` is the share of good parts that may be rejected, `review_rate` (None: no review) the share that may
    be rejected or put up for review: on average without `confidence`, as a limit that holds with `confidence` where
    that is given. With `strict` a rate that the good images cannot support is an error; without it the promise says
    what they support. With `costs` the threshold of least expected
    cost is taken instead; without defective scores, defects are assumed to score `assumed_shift` deviations of the
    good scores higher than good parts.
    """

    false_reject: float = 0.05
    confidence: float | None = None
    review_rate: float | None = None
    strict: bool = False
    costs: Costs | None = None
    assumed_shift: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.false_reject < 1:
            raise SettingsError(f"false_reject is a share between 0 and 1, for example 0.01, not {self.false_reject:g}")
        if self.confidence is not None and not 0.5 < self.confidence < 1:
            raise SettingsError(
                f"confidence is a share over 0.5 and under 1, for example 0.95, not {self.confidence:g}"
            )
        if self.review_rate is not None and not self.false_reject < self.review_rate < 1:
            raise SettingsError(
                f"review_rate counts rejected and reviewed good parts together, so it lies between false_reject "
                f"({self.false_reject:g}) and 1, not at {self.review_rate:g}"
            )
        if not self.assumed_shift > 0:
            raise SettingsError(f"assumed_shift is larger than 0, not {self.assumed_shift:g}")
