"""A whole lot judged at once, with control of the share of false rejects among all rejects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blemish.errors import CalibrationError, SettingsError


@dataclass(frozen=True)
class Lot:
    """Which parts of a lot are rejected, in the order they were given.

    On average at most the share `false_discovery_rate` of all rejects is false: of `num_rejected`, about
    `expected_false` or fewer. Parts with a p-value up to `p_limit` are rejected (0: none). `fewest_rejects` is the
    smallest number above 0 that this many good images allow to be rejected in a lot of this size.
    """

    is_rejected: tuple[bool, ...]
    num_rejected: int
    false_discovery_rate: float
    expected_false: float
    p_limit: float
    fewest_rejects: int


def judge_lot(p_values: Sequence[float], *, num_good: int, false_discovery_rate: float = 0.1) -> Lot:
    """The lot by the procedure of Benjamini and Hochberg (1995).

    It holds for conformal p-values although they share the good images (Bates et al., Annals of Statistics 2023).

    >>> judge_lot([0.5, 0.005, 0.9, 0.01], num_good=199).is_rejected
    (False, True, False, True)
    """
    if not 0 < false_discovery_rate < 1:
        raise SettingsError(f"the false discovery rate is a share between 0 and 1, not {false_discovery_rate:g}")
    if not p_values:
        raise CalibrationError("the lot is empty; give at least one image")
    size = len(p_values)
    # Rounding must not cost a part whose p-value lies exactly at its limit.
    limits = (false_discovery_rate * rank / size * (1 + 1e-12) for rank in range(1, size + 1))
    num_rejected = 0
    p_limit = 0.0
    for rank, (value, limit) in enumerate(zip(sorted(p_values), limits, strict=True), start=1):
        if value <= limit:
            num_rejected, p_limit = rank, value
    is_rejected = tuple(value <= p_limit for value in p_values)
    return Lot(
        is_rejected=is_rejected,
        num_rejected=num_rejected,
        false_discovery_rate=false_discovery_rate,
        expected_false=false_discovery_rate * num_rejected,
        p_limit=p_limit,
        fewest_rejects=math.ceil(size / (false_discovery_rate * (num_good + 1)) * (1 - 1e-12)),
    )


def lot_sentence(lot: Lot) -> str:
    """What was decided about the lot, in words."""
    size = len(lot.is_rejected)
    if lot.num_rejected:
        return (
            f"{lot.num_rejected:,} of {size:,} parts are rejected; about {lot.expected_false:.2g} of these or fewer "
            f"should be good (false discovery rate {100 * lot.false_discovery_rate:.3g} %)."
        )
    if lot.fewest_rejects > 1:
        return (
            f"None of {size:,} parts is rejected. With so few good images a lot of this size needs at least "
            f"{lot.fewest_rejects:,} clear defects before any can be rejected at a false discovery rate of "
            f"{100 * lot.false_discovery_rate:.3g} %; add good images or split the lot."
        )
    return f"None of {size:,} parts is rejected."
