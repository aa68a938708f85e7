"""Estimates against scipy and against coverage; pooling over runs."""

import math

import numpy as np
import pytest
from scipy import stats

from lib import estimates
from lib.estimates import Estimate, estimate, exact, pool


def test_mean_has_students_interval():
    data = [1.0, 2.0, 4.0, 3.5, -1.0]
    want = stats.ttest_1samp(data, 0).confidence_interval(0.95)
    found = estimate(data)
    assert (found.low, found.high) == pytest.approx((want.low, want.high))
    assert found.n == 5


def test_paired_differences_have_the_interval_of_the_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12))
    want = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = estimate(a - b)
    assert (found.low, found.high) == pytest.approx((want.low, want.high))


def test_share_has_wilsons_interval():
    # Wilson (1927), by hand for 8 of 10: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    z, p, n = stats.norm.ppf(0.975), 0.8, 10
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = estimate([1] * 8 + [0] * 2, "share")
    assert found.low == pytest.approx((p + z**2 / (2 * n) - half) / (1 + z**2 / n))
    assert found.high == pytest.approx((p + z**2 / (2 * n) + half) / (1 + z**2 / n))


def test_geometric_mean_is_that_of_the_logarithms():
    found = estimate([1.0, 4.0, 2.0], "geomean")
    logs = estimate(np.log([1.0, 4.0, 2.0]))
    assert (found.value, found.low, found.high) == pytest.approx(tuple(np.exp([logs.value, logs.low, logs.high])))


@pytest.mark.parametrize(
    ("kind", "n", "truth"), [("mean", 8, 1.0), ("median", 25, math.log(2)), ("ratio", 25, 0.5), ("share", 20, 0.3)]
)
def test_intervals_cover_the_truth(kind, n, truth, monkeypatch):
    monkeypatch.setattr(estimates, "_DRAWS", 599)
    rng = np.random.default_rng(1)
    draws = {
        "mean": lambda: rng.normal(1, 1, n),
        "median": lambda: rng.exponential(1, n),
        "ratio": lambda: rng.gamma(4, [0.5, 1.0], (n, 2)),
        "share": lambda: (rng.random(n) < 0.3).astype(int),
    }
    hits = [e.low <= truth <= e.high for e in (estimate(draws[kind](), kind) for _ in range(200))]
    assert 0.88 <= np.mean(hits) <= 1.0


@pytest.mark.parametrize(
    ("kind", "few"), [("mean", [1.0]), ("geomean", [2.0]), ("median", [1.0] * 5), ("ratio", [[1.0, 2.0]] * 4)]
)
def test_too_few_samples_decide_nothing(kind, few):
    found = estimate(few, kind)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.finite


def test_ratios_of_which_nothing_is_left_reach_to_wilsons_limit():
    found = estimate([[0.0, 2.0]] * 6, "ratio")
    assert (found.value, found.low, found.high) == (0, 0, estimate([0] * 6, "share").high)
    assert estimate([[0.0, 1.0]] * 6 + [[0.0, 0.0]] * 9, "ratio").high == found.high  # nothing to lose says nothing
    unequal = estimate([[0.0, gap] for gap in (1.0, 5.0, 2.0, 0.5, 3.0, 4.0)], "ratio")
    assert unequal.high == estimate([0] * 4, "share").high > found.high  # 15.5^2 / 55.25 = 4.3 samples
    assert estimate([[0.0, 1.0]] * 4, "ratio").high == math.inf  # too few
    some_left = estimate([[0.0, 1.0]] * 20 + [[0.5, 1.0]] * 3, "ratio")
    assert 0 < some_left.low < some_left.value < some_left.high


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kind", estimates.FEWEST)
def test_samples_that_are_not_finite_give_no_number(kind, bad):
    data = np.ones((9, 2)) if kind == "ratio" else np.ones(9)
    data.flat[3] = bad
    found = estimate(data, kind)
    assert not found.finite
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("samples", "kind", "message"),
    [
        ([], "mean", "samples must not be empty"),
        ([0.5], "share", "must be 0 or 1"),
        ([-1.0, 1.0], "geomean", "must be positive, got -1"),
        ([1.0, 2.0], "ratio", "must have 2 dimensions"),
        ([[1.0, 2.0, 3.0]], "ratio", "must be pairs"),
        ([[1.0, 0.0]] * 6, "ratio", "must not have mean 0"),
        ([1.0], "mode", "kind must be one of 'mean'"),
    ],
)
def test_what_has_no_estimate_is_refused(samples, kind, message):
    with pytest.raises(ValueError, match=message):
        estimate(samples, kind)


def test_deterministic_numbers_keep_their_whole_range():
    assert exact([2.0]) == Estimate(2.0, 2.0, 2.0, 1)
    assert exact([2.0, 4.0]) == Estimate(3.0, 2.0, 4.0, 2)
    assert not exact([1.0, math.nan]).finite
    assert exact([0.05] * 3) == Estimate(0.05, 0.05, 0.05, 3)  # their mean is 0.05 and one bit


def test_the_same_samples_always_have_the_same_interval():
    data = np.random.default_rng(3).normal(size=(12, 2)) + 4
    assert estimate(data, "ratio") == estimate(data, "ratio")
    assert estimate(data[:, 0], "median") == estimate(data[:, 0], "median")


def test_pooling_joins_fresh_samples_and_averages_units():
    assert pool([[1.0], [2.0, 3.0]]) == [1.0, 2.0, 3.0]
    assert pool([{"iris": 1.0, "wine": 0.0}, {"iris": 3.0, "wine": 1.0}]) == {"iris": 2.0, "wine": 0.5}
    assert pool([{"iris": [1.0, 2.0]}, {"iris": [3.0, 4.0]}]) == {"iris": [2.0, 3.0]}
    assert pool([5, 6]) == [5, 6]


def test_copies_are_no_fresh_samples():
    with pytest.raises(ValueError, match="two runs have the same samples"):
        pool([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    assert pool([[1, 1, 1], [1, 1, 1]]) == [1] * 6  # shares may well agree


def test_runs_in_different_forms_are_refused():
    with pytest.raises(ValueError, match="different forms: number, samples"):
        pool([[1.0], 1.0])


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (Estimate(0.0312, 0.0121, 0.0503, 24), "0.031 (0.012 to 0.050, n = 24)"),
        (Estimate(1.00213, 1.00112, 1.00314, 20), "1.0021 (1.0011 to 1.0031, n = 20)"),
        (Estimate(1234.5, 1100.0, 1369.0, 3), "1,234 (1,100 to 1,369, n = 3)"),
        (Estimate(3.1e-12, -6e-13, 6.8e-12, 5), "0 within 1e-9 (n = 5)"),
        (Estimate(3.1e-9, -6e-13, 6.8e-9, 5), "0.000000003 (0.000000000 to 0.000000007, n = 5)"),
        (Estimate(0.5, -math.inf, math.inf, 1), "0.5 (n = 1, too few for an interval)"),
        (exact([3]), "3"),
        (exact([0.05] * 3), "0.05"),
        (estimate([0.05] * 3), "0.05"),
        (Estimate(0.05 * (1 + 2**-52), 0.05, 0.05, 3), "0.05"),
        (exact([math.nan]), "not finite (n = 1)"),
    ],
)
def test_estimates_show_the_digits_that_decide(known, text):
    assert str(known) == text
    assert f"{known}" == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.63412, "0.634"), (12, "12"), (3.0, "3"), (1234.6, "1,235"), (1e-9, "1e-09"), (float("nan"), "nan"), (1.002, "1.002")],
)
def test_numbers_are_shown_short(value, text):
    assert estimates.show(value) == text
