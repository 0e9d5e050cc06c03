"""Lots: false discovery rate control."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from blemish.decisions.lot import judge_lot, lot_sentence
from blemish.errors import CalibrationError, SettingsError


@settings(deadline=None)
@given(ranks=st.lists(st.integers(1, 200), min_size=1, max_size=80), rate=st.sampled_from([0.05, 0.1, 0.3]))
def test_rejects_as_benjamini_and_hochberg(ranks: list[int], rate: float) -> None:
    p_values = [rank / 200 for rank in ranks]
    adjusted = stats.false_discovery_control(p_values)
    lot = judge_lot(p_values, num_good=199, false_discovery_rate=rate)
    assert list(lot.is_rejected) == (adjusted <= rate * (1 + 1e-9)).tolist()
    assert lot.num_rejected == sum(lot.is_rejected)
    assert lot.expected_false == pytest.approx(rate * lot.num_rejected)


def test_the_false_discovery_rate_holds_for_parts_that_share_their_good_images() -> None:
    rng = np.random.default_rng(0)
    num_good, size, num_defective, rate, draws = 200, 60, 12, 0.2, 2000
    shares, found = [], 0
    for _ in range(draws):
        good = np.sort(rng.normal(size=num_good))
        parts = rng.normal(size=size)
        parts[:num_defective] += 4
        p_values = (1 + num_good - np.searchsorted(good, parts)) / (num_good + 1)
        rejected = np.array(judge_lot(p_values.tolist(), num_good=num_good, false_discovery_rate=rate).is_rejected)
        shares.append(rejected[num_defective:].sum() / max(1, rejected.sum()))
        found += rejected[:num_defective].sum()
    # 4.9 standard errors: one in a million for a mean of this many shares.
    assert np.mean(shares) <= rate * (1 - num_defective / size) + 4.9 * np.std(shares) / np.sqrt(draws)
    assert found > 0.9 * draws * num_defective


@pytest.mark.parametrize(
    ("num_good", "size", "rate"), [(209, 100, 0.1), (50, 60, 0.05), (999, 100, 0.1), (20, 10, 0.5)]
)
def test_the_fewest_rejects_are_the_fewest_that_can_happen(num_good: int, size: int, rate: float) -> None:
    least = 1 / (num_good + 1)
    counts = [
        judge_lot([least] * k + [1.0] * (size - k), num_good=num_good, false_discovery_rate=rate).num_rejected
        for k in range(1, size + 1)
    ]
    possible = [count for count in counts if count]
    lot = judge_lot([1.0] * size, num_good=num_good, false_discovery_rate=rate)
    assert lot.fewest_rejects == min(possible, default=lot.fewest_rejects)
    assert possible or lot.fewest_rejects > size


def test_the_lot_in_words() -> None:
    assert lot_sentence(judge_lot([0.005, 0.005, 0.9], num_good=199)) == (
        "2 of 3 parts are rejected; about 0.2 of these or fewer should be good (false discovery rate 10 %)."
    )
    assert "at least 5 clear defects" in lot_sentence(judge_lot([1 / 210] + [0.5] * 99, num_good=209))
    assert lot_sentence(judge_lot([0.5, 0.9], num_good=199)) == "None of 2 parts is rejected."


def test_errors() -> None:
    with pytest.raises(CalibrationError, match="empty"):
        judge_lot([], num_good=10)
    with pytest.raises(SettingsError, match="false discovery rate"):
        judge_lot([0.5], num_good=10, false_discovery_rate=1)
