"""Online matching: the forms of the Stochastic Configuration LP, simulated runs against coins, growth with the triangle."""

from __future__ import annotations

import numpy as np
import pytest

from lib.online.online_matching import (
    StochasticBalance,
    competitive_ratio,
    exact_value,
    simulate,
    stochastic_configuration_lp,
)
from lib.online.online_matching.study import coin_mean, random_graph, triangle


@pytest.mark.parametrize("peer", [None, "columns", "generation"])
def test_program(benchmark, peer):
    benchmark.extra_info.update(slug="online_matching", work="Stochastic Configuration LP, 3 x 8 graph", peer=peer)
    board = random_graph(3, 8, p=0.5, seed=0)
    method = peer or "compact"
    found = benchmark.pedantic(lambda: stochastic_configuration_lp(board, method), rounds=3, warmup_rounds=1)
    assert found.success


@pytest.mark.parametrize("peer", [None, "one coin an offer, run by run"])
def test_runs(benchmark, peer):
    benchmark.extra_info.update(slug="online_matching", work="100 runs of Stochastic Balance on a 5 x 50 triangle", peer=peer)
    board = triangle(5, 0.1)

    def coins():
        return coin_mean(board, StochasticBalance(), 100, 0)[0]

    def thresholds():
        return float(simulate(board, StochasticBalance(), 100, 0).value)

    value = benchmark.pedantic(coins if peer else thresholds, rounds=3, warmup_rounds=1)
    assert 2 < value < 4


@pytest.mark.parametrize("peer", [None, "10 000 simulated runs"])
def test_expected_reward(benchmark, peer):
    benchmark.extra_info.update(slug="online_matching", work="expected reward of Stochastic Balance, 3 x 8 graph", peer=peer)
    board = random_graph(3, 8, p=0.5, seed=0)

    def exact():
        return exact_value(board, StochasticBalance())

    def runs():
        return float(simulate(board, StochasticBalance(), 10_000, 0).value)

    assert np.isfinite(benchmark.pedantic(runs if peer else exact, rounds=3, warmup_rounds=1))


@pytest.mark.parametrize("n", [5, 10, 20])
def test_growth(benchmark, n):
    work = "bound of the triangle with n offline and 10 n online vertices"
    benchmark.extra_info.update(slug="online_matching", work=work, size=n)
    board = triangle(n, 0.1)
    assert benchmark.pedantic(lambda: stochastic_configuration_lp(board), rounds=2, warmup_rounds=1).success


@pytest.mark.parametrize("peer", [None, "general probabilities"])
def test_guarantee(benchmark, peer):
    work = "the guarantee of Stochastic Balance, 601 loads, equal probabilities"
    benchmark.extra_info.update(slug="online_matching", work=work, peer=peer)
    displaced = "general" if peer else "equal"
    assert benchmark.pedantic(lambda: competitive_ratio("stochastic", displaced), rounds=2).ratio > 0.61
