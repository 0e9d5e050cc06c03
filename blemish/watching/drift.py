"""Drift: a running test, valid at any time, of whether parts still look like the good images.

Each condition (score, brightness, sharpness, ...) is ranked among the good images and all parts since. While parts
are exchangeable with the good images these ranks give p-values that are exactly uniform and independent (online
conformal prediction; Vovk, Gammerman and Shafer 2005), so a bet against them cannot be expected to win. The capital of
a gambler who starts with 1 reaches `1 / e` with probability at most `e`, however long the watch lasts (Ville 1939): a
large capital is evidence of drift.

- Only the number of parts between neighboring good values is kept: those counts alone give the law of the next rank
  (a Polya urn), so memory does not grow.
- The capital is spread over bets on shifts of several sizes and over the part at which the shift begins.
- Each bet pays for a share of defective parts that may look like anything, so that a few of them are no drift.
- The conditions share the false alarm probability equally (Bonferroni), whatever their dependence.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray

from blemish.errors import CalibrationError, SettingsError
from blemish.schema import Condition

NUM_BINS = 20
SHIFTS = (2.8, 5.6)
"""Sizes of the shifts that are bet on, in standard deviations of a normally distributed condition.

Smaller ones are left out on purpose: a lot that differs a little, well within what the good images vary among
themselves, does not void their promise; values that crowd at the edge of the good ones do.
"""
STAKE = 0.9
"""Part of a bet's capital that is at stake; the rest survives a part that goes against the bet."""
NUM_RECENT = 5


@dataclass(frozen=True)
class DriftSettings:
    """`false_alarm` bounds the probability of ever raising an alarm while nothing drifts; a share of `defect_rate` of
    the parts may be defective without being taken for drift.
    """

    false_alarm: float = 0.01
    defect_rate: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm < 1:
            raise SettingsError(f"false_alarm is a share between 0 and 1, not {self.false_alarm:g}")
        if not 0 <= self.defect_rate < 0.5:
            raise SettingsError(f"defect_rate of the drift watch is from 0 to under 0.5, not {self.defect_rate:g}")


@dataclass(frozen=True)
class DriftState:
    """All that a watch has to remember between runs, in simple types.

    `counts` are the parts between neighboring good values, `log_capital` the logarithm of each bet's capital and
    `recent` the last values, all per condition; `alarm` is the sentence of the first alarm, empty before it.
    `reference` is a hash of the good values, by which a watch of another calibration is found out.
    """

    reference: str
    num_parts: int
    counts: tuple[tuple[int, ...], ...]
    log_capital: tuple[tuple[float, ...], ...]
    recent: tuple[tuple[float, ...], ...]
    alarm: str = ""
    seed: int = 0


@dataclass(frozen=True)
class DriftReport:
    """Where a watch stands after `num_parts`.

    `evidence` is the capital of the condition that looks most like drift, as a share of what an alarm takes. Once
    `is_void`, the promise stays void until a new watch is begun.
    """

    num_parts: int
    condition: str
    evidence: float
    is_void: bool
    sentence: str


def start_drift(conditions: Sequence[Condition], *, seed: int = 0) -> DriftState:
    """The state of a new watch; `seed` draws the order of equal values and has no other effect."""
    if not conditions:
        raise CalibrationError("the calibration holds no conditions, so drift cannot be watched; calibrate again")
    return DriftState(
        reference=reference_of(conditions),
        num_parts=0,
        counts=tuple((0,) * (len(condition.values) + 1) for condition in conditions),
        log_capital=tuple((_NOTHING,) * (2 * len(SHIFTS)) for _ in conditions),
        recent=tuple(() for _ in conditions),
        seed=seed,
    )


def check_state(state: DriftState, conditions: Sequence[Condition]) -> None:
    """Raises CalibrationError where a watch under these conditions cannot have come to this state."""
    if state.reference != reference_of(conditions):
        raise CalibrationError("the saved drift watch belongs to another calibration; begin a new one")
    sizes = [len(condition.values) + 1 for condition in conditions]
    num_recent = min(NUM_RECENT, max(state.num_parts, 0))
    is_possible = (
        0 <= state.num_parts < 2**53
        and [len(counts) for counts in state.counts] == sizes
        and all(min(counts) >= 0 and sum(counts) == state.num_parts for counts in state.counts)
        and [len(capital) for capital in state.log_capital] == [2 * len(SHIFTS)] * len(conditions)
        and all(_NOTHING <= value < -_NOTHING for capital in state.log_capital for value in capital)
        and [len(values) for values in state.recent] == [num_recent] * len(conditions)
        and all(math.isfinite(value) for values in state.recent for value in values)
        and bool(state.alarm) <= (state.num_parts > 0)
        and abs(state.seed) < 2**64
    )
    if not is_possible:
        raise CalibrationError("the saved drift watch is damaged; begin a new one")


class DriftMonitor:
    """A watch over parts in the order of production; `state` can be saved and given to a later monitor."""

    def __init__(
        self, conditions: Sequence[Condition], state: DriftState | None = None, settings: DriftSettings | None = None
    ) -> None:
        state = state or start_drift(conditions)
        check_state(state, conditions)
        self._conditions = tuple(conditions)
        self._settings = settings or DriftSettings()
        self._log_bets = log_bets(self._settings.defect_rate)
        self._is_allowed = np.array([[s > 0 or c.side == "both" for s in signed_shifts()] for c in conditions])
        self._reference, self._seed = state.reference, state.seed
        self._num_parts, self._alarm = state.num_parts, state.alarm
        self._counts = [np.array(counts, dtype=np.int64) for counts in state.counts]
        self._log_capital = np.array(state.log_capital, dtype=np.float64)
        self._recent = [list(values) for values in state.recent]
        self._good = [
            # Equal values get a random order, the same in every run, so that ranks among ties are fair.
            sorted((value, _uniform(self._seed, index, number)) for number, value in enumerate(condition.values))
            for index, condition in enumerate(conditions)
        ]

    @property
    def state(self) -> DriftState:
        return DriftState(
            reference=self._reference,
            num_parts=self._num_parts,
            counts=tuple(tuple(counts.tolist()) for counts in self._counts),
            log_capital=tuple(tuple(row) for row in self._log_capital.tolist()),
            recent=tuple(tuple(values) for values in self._recent),
            alarm=self._alarm,
            seed=self._seed,
        )

    def update(self, values: Sequence[float]) -> DriftReport:
        """Takes in the values of one part, in the order of the conditions, and says where the watch stands."""
        if len(values) != len(self._conditions):
            raise ValueError(f"expected {len(self._conditions)} values, one per condition, got {len(values)}")
        for condition, value in zip(self._conditions, values, strict=True):
            if not math.isfinite(value):
                raise CalibrationError(f"the {condition.name} of a part is {value}; check the picture")
        p_values = np.array([self._admit(index, float(value)) for index, value in enumerate(values)])
        self._num_parts += 1
        self._log_capital = step(self._log_capital, p_values, self._num_parts, self._log_bets)
        return self.report()

    def report(self) -> DriftReport:
        """Where the watch stands now."""
        log_evidence = log_total(self._log_capital, self._num_parts, self._is_allowed)
        worst = int(log_evidence.argmax())
        needed = math.log(len(self._conditions) / self._settings.false_alarm)
        if not self._alarm and log_evidence[worst] >= needed:
            self._alarm = self._alarm_sentence(worst)
        return DriftReport(
            num_parts=self._num_parts,
            condition=self._conditions[worst].name,
            evidence=math.exp(min(float(log_evidence[worst]) - needed, 700.0)),
            is_void=bool(self._alarm),
            sentence=self._alarm or f"No sign of drift in {self._num_parts:,} parts.",
        )

    def _admit(self, index: int, value: float) -> float:
        """The p-value of a part's value of one condition, which then counts for later parts."""
        tie, share = (_uniform(self._seed, index, -1 - 2 * self._num_parts - offset) for offset in (0, 1))
        place = bisect_left(self._good[index], (value, tie))
        p_value = rank_p_value(self._counts[index], place, share)
        self._counts[index][place] += 1
        self._recent[index] = [*self._recent[index][1 - NUM_RECENT :], value]
        return p_value

    def _alarm_sentence(self, index: int) -> str:
        condition = self._conditions[index]
        recent = self._recent[index]
        name = condition.name.replace("_", " ")
        return (
            f"Part {self._num_parts:,}: the parts no longer look like the good images: the median {name} of the last "
            f"{len(recent)} parts is {median(recent):.4g}, that of {len(condition.values)} good images "
            f"{median(condition.values):.4g} ({min(condition.values):.4g} to {max(condition.values):.4g}). "
            "The promise is void until the conditions are restored or new good images are calibrated."
        )


def rank_p_value(counts: NDArray[np.int64], place: int, share: float) -> float:
    """The p-value, small for large values, of a value in gap number `place` of the good values.

    `counts` says how many earlier parts fell into each gap; `share`, uniform on 0 to 1, spreads the value evenly over
    its gap. A gap weighs 1 at first and 1 more for each part in it.
    """
    above = int(counts[place + 1 :].sum()) + len(counts) - 1 - place
    return (above + share * (int(counts[place]) + 1)) / (int(counts.sum()) + len(counts))


def signed_shifts() -> tuple[float, ...]:
    """The shifts that are bet on, upward first; the columns of the capital."""
    return (*SHIFTS, *(-shift for shift in SHIFTS))


def log_bets(defect_rate: float) -> NDArray[np.float64]:
    """float64 (bets, bins): the logarithm of what a bet pays when a p-value falls into a bin.

    Over uniform p-values a bet pays at most 1 on average, even when a share `defect_rate` of them is chosen for it.
    """
    normal = NormalDist()
    inner = [normal.inv_cdf(1 - number / NUM_BINS) for number in range(1, NUM_BINS)]
    table = np.empty((2 * len(SHIFTS), NUM_BINS))
    for row, shift in zip(table, signed_shifts(), strict=True):
        below = np.array([1.0, *(normal.cdf(bound - shift) for bound in inner), 0.0])
        row[:] = STAKE * NUM_BINS * (below[:-1] - below[1:]) + 1 - STAKE
        row /= 1 + defect_rate * (row.max() - 1)
    table[:] = np.log(table)
    return table


def step(
    log_capital: NDArray[np.float64], p_values: NDArray[np.float64], num_parts: int, table: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The capital of each bet (..., bets) after the part numbered `num_parts` (from 1) with p-values (...)."""
    bins = np.minimum((p_values * NUM_BINS).astype(np.intp), NUM_BINS - 1)
    begun = math.log(_unused(num_parts - 1) - _unused(num_parts))
    after: NDArray[np.float64] = np.logaddexp(log_capital, begun) + table.T[bins]
    return after


def log_total(log_capital: NDArray[np.float64], num_parts: int, is_allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The logarithm of the capital of all allowed bets together and of the part not yet used, over the last axis."""
    log_capital = np.where(is_allowed, log_capital, -np.inf)
    largest = np.maximum(log_capital.max(axis=-1), 0.0)
    capital = np.exp(log_capital - largest[..., None]).sum(axis=-1) / is_allowed.sum(axis=-1)
    total: NDArray[np.float64] = largest + np.log(capital + _unused(num_parts) * np.exp(-largest))
    return total


_NOTHING = -1e9
"""Logarithm that stands for no capital; finite, so that JSON can hold it."""


def _unused(num_parts: int) -> float:
    """The share of the capital that is kept for shifts that begin later; falls slowly, so that none comes too late."""
    return 1 / math.log2(num_parts + 2)


def reference_of(conditions: Sequence[Condition]) -> str:
    """A hash of the good values, by which a watch of another calibration is found out; 16 hex digits."""
    return hashlib.sha256(repr(tuple(conditions)).encode()).hexdigest()[:16]


def _uniform(seed: int, index: int, number: int) -> float:
    """A reproducible random number in [0, 1) for each triple (SplitMix64), free of any state to save."""
    bits = 64
    mask = (1 << bits) - 1
    value = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + number * 0x8CB92BA72F3D8DD7) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        value = ((value ^ (value >> shift)) * factor) & mask
    return (value >> 11) / (1 << 53)
