"""The study of online matching: families, click logs, rivals, protocols."""

from __future__ import annotations

import numpy as np
import pytest

from lib import data
from lib.online import online_matching as om
from lib.online.online_matching import study


def test_families_are_what_they_say():
    P = study.triangle(4, 0.25).P
    assert P.shape == (4, 16)
    assert [(P[:, v] > 0).sum() for v in (0, 4, 8, 12)] == [4, 3, 2, 1]
    assert set(np.unique(P)) == {0, 0.25}
    P = study.two_groups(3, 0.5).P
    assert P.shape == (6, 12)
    assert (P[:3, :6] > P[3:, :6]).all()
    assert not P[3:, 6:].any()
    P = study.private_and_shared(3, 0.5).P
    assert P.shape == (6, 12)
    assert ((P[:3, :6] > 0).sum(axis=0) == 1).all()
    assert (P[3:, :6] > 0).all()
    assert not P[:3, 6:].any()
    assert ((P[3:, 6:] > 0).sum(axis=0) == 1).all()


def test_the_trap_of_greedy_is_one():
    board = study.two_groups(6, 0.1)
    bound = om.stochastic_configuration_lp(board).fun
    greedy, balance = (om.simulate(board, rule, 200, 0) for rule in (om.Greedy(), om.StochasticBalance()))
    assert balance.value - greedy.value > 0.08 * bound
    # the luring group is served first
    assert greedy.loads[:, :6].mean() > 1.5 * greedy.loads[:, 6:].mean()


def test_certain_successes_are_beyond_the_guarantee():
    board = study.private_and_shared(15, 1.0)
    assert om.stochastic_configuration_lp(board).fun == pytest.approx(30)
    assert om.simulate(board, om.StochasticBalance(), 200, 0).value / 30 < 0.6


def test_random_graphs_have_the_chances_that_are_asked_for():
    assert set(np.unique(study.random_graph(6, 30, 0.5, 0.3, equal=True, seed=0).P)) == {0, 0.3}
    P = study.random_graph(30, 60, 0.5, 0.3, seed=0).P
    assert 0 < P.max() <= 0.3
    assert abs((P > 0).mean() - 0.5) < 0.05
    assert not study.random_graph(2, 2, 0.0, seed=0).P.any()


@pytest.fixture(scope="module")
def log():
    try:
        return study.click_log("men")
    except data.DataUnavailableError as error:
        pytest.skip(str(error)[:200])


def test_the_log_is_the_published_one(log):
    assert log.affinities.shape == (10_000, 34)
    assert log.clicks.sum() == 46
    assert set(np.unique(log.items)) == set(range(34))
    of_item, of_segment, mean = log.rates()
    assert mean == pytest.approx(0.0046)
    assert of_item.min() > 0
    assert of_segment.shape == (log.segments.max() + 1,)
    first = (log.items == 0).sum()
    clicked = log.clicks[log.items == 0].sum()
    assert of_item[0] == pytest.approx((clicked + 300 * mean) / (first + 300))


def test_an_instance_of_clicks(log):
    board = study.click_instance(log, 300, near=5, supply=1.0, seed=0)
    assert board.shape == (34, 300)
    assert ((board.P > 0).sum(axis=0) == 5).all()
    assert board.P.sum() / 5 == pytest.approx(34)
    # a product of an item's factor and a segment's factor: all 2 x 2 determinants vanish where four edges exist
    P = board.P
    for v in range(0, 290, 10):
        both = np.flatnonzero((P[:, v] > 0) & (P[:, v + 1] > 0))
        if len(both) > 1:
            a, b = both[:2]
            assert P[a, v] * P[b, v + 1] == pytest.approx(P[b, v] * P[a, v + 1])
    same = study.click_instance(log, 300, seed=0)
    np.testing.assert_array_equal(same.P, P)
    high = np.argmax(log.affinities.max(axis=1))  # an impression whose user likes some items: these are in reach
    whole = study.click_instance(log, 10_000, near=5, seed=0)
    liked = log.affinities[high] > 0
    assert (whole.P[liked, high] > 0).all() or liked.sum() > 5


def test_a_forecast_of_the_same_day_beats_greedy_in_its_trap():
    board = study.two_groups(4, 0.1)
    forecast, greedy = (om.simulate(board, rule, 300, 0) for rule in (study.forecast(board), om.Greedy()))
    assert forecast.value > greedy.value + 0.2


def test_bid_prices_are_subtracted():
    rule = study.BidPrice([[0.0, 0.9], [0.0, 0.2]])
    assert om.simulate([[0.9], [0.5]], rule, 1, 0, keep_choices=True).choices.tolist() == [[1]]


def test_least_loaded_in_order_is_deterministic():
    board = study.triangle(3, 1 / 3)
    seen = om.simulate(board, study.LeastLoaded(in_order=True), 1, 0, thresholds=[[np.inf] * 3], keep_choices=True)
    assert seen.choices[0].tolist() == [0, 1, 2, 1, 2, 1, 2, 2, 2]


def test_batches_are_means_of_the_runs():
    board = study.triangle(4, 0.2)
    means = study.batch_means(board, om.StochasticBalance(), 100, 10, 3)
    runs = om.simulate(board, om.StochasticBalance(), 100, 3).rewards
    np.testing.assert_allclose(means, runs.reshape(10, 10).mean(axis=1))


def test_coins_agree_with_the_exact_value():
    board = study.random_graph(3, 5, p=0.8, seed=2)
    mean, error = study.coin_mean(board, om.StochasticBalance(), 400, 0)
    assert abs(mean - om.exact_value(board, om.StochasticBalance())) < 4.5 * error


def test_a_broken_ladder_is_counted():
    assert study.Ladder(1, 2, 3, 4, 5).violations() == 0
    assert study.Ladder(2, 1, 3, 4, 5).violations() == 1
    assert study.Ladder(1, 2, 6, 7, 5).violations() == 2
    assert study.Ladder(1, 4, 3, 4, 5).violations() == 1


def test_displacement_wants_equal_chances():
    with pytest.raises(ValueError, match="P must hold one probability"):
        study.displacement([[0.1, 0.2]])
    with pytest.raises(ValueError, match="u must be"):
        study.displacement([[0.1, 0.1]], u=1)


def test_displacement_by_hand():
    # two vertices that all six arrivals want: a vertex that never succeeds gets three, or more if the other succeeds
    found = study.displacement(np.full((2, 6), 0.3), u=0, pairs=200, seed=0)
    assert 2 <= found.missed.max() <= 5
    assert (found.missed >= 0).all()
    assert (found.fallen <= found.missed).all()
