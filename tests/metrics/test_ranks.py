"""Ranks over data sets agree with SciPy's tests and tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from blemish.errors import MetricError
from blemish.metrics.ranks import _NEMENYI_05, rank_detectors


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 2**32 - 1), st.booleans())
def test_ranks_and_friedman_agree_with_scipy(num_sets, num_detectors, seed, with_ties):
    values = np.random.default_rng(seed).random((num_sets, num_detectors))
    if with_ties:
        values = values.round(1)
    found = rank_detectors(values)
    expected = stats.rankdata(-values, axis=1).mean(axis=0)
    assert found.mean_ranks == pytest.approx(expected)
    ranks = stats.rankdata(values, axis=1)
    if num_detectors > 2 and np.ptp(ranks, axis=1).any():
        chi = stats.friedmanchisquare(*values.T).statistic
        rest = num_sets * (num_detectors - 1) - chi
        if chi > 1e-9 and rest > 1e-9:
            ratio = (num_sets - 1) * chi / rest
            degrees = num_detectors - 1, (num_detectors - 1) * (num_sets - 1)
            assert found.p_value == pytest.approx(stats.f.sf(ratio, *degrees), abs=1e-9)


@pytest.mark.parametrize("num_detectors", range(2, 21))
def test_the_critical_values_are_those_of_the_studentized_range(num_detectors):
    exact = stats.studentized_range.ppf(0.95, num_detectors, np.inf) / math.sqrt(2)
    assert _NEMENYI_05[num_detectors - 2] == pytest.approx(exact, abs=1.1e-3)


def test_groups_are_runs_that_lie_within_the_critical_difference():
    values = np.arange(6.0)[None, :] + np.zeros((12, 1))
    found = rank_detectors(values)
    assert found.mean_ranks == (6, 5, 4, 3, 2, 1)
    assert 2 < found.critical_difference < 3
    assert found.groups == ((5, 4, 3), (4, 3, 2), (3, 2, 1), (2, 1, 0))
    assert found.p_value == 0.0


def test_detectors_that_are_all_alike_form_one_group():
    found = rank_detectors(np.ones((3, 4)))
    assert found.p_value == 1.0
    assert found.groups == ((0, 1, 2, 3),)


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]], [[1.0, np.nan], [1.0, 2.0]], np.ones((3, 21))])
def test_what_cannot_be_ranked_is_refused(values):
    with pytest.raises(MetricError, match="2 data sets and 2 to 20 detectors"):
        rank_detectors(values)
