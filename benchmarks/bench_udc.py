"""UDC: a conquering stage and a whole solution against rivals that do the same work, and how the cost grows with N."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.policies import udc
from lib.policies.udc import study
from lib.problems import routing

#: Peer -> why ours takes longer.
SLOWER = {
    "insertion, 2-opt and Or-opt": "the network divides and conquers before any local search",
    "LKH 3 (elkai)": "LKH is compiled and made for tours; the network also solves other graph problems",
}

torch.set_num_threads(1)
COORDS = routing.uniform_tsp(100, seed=0)
START = routing.random_insertion(COORDS, 0)


@pytest.fixture(scope="module")
def model():
    return study.load_weights()[0]


def test_conquer_learned(benchmark, model):
    benchmark.extra_info.update(slug="udc", work="one stage, 100 cities in pieces of 10", peer=None)
    benchmark(udc.conquer, COORDS, START[None], model.solver, 10, 5)


def test_conquer_lkh(benchmark):
    pytest.importorskip("elkai")
    benchmark.extra_info.update(slug="udc", work="one stage, 100 cities in pieces of 10", peer="LKH per piece (elkai)")
    benchmark(udc.conquer, COORDS, START[None], udc.LKHSolver(), 10, 5)


def test_tour_udc(benchmark, model):
    benchmark.extra_info.update(slug="udc", work="tour of 100 cities from coordinates", peer=None)
    benchmark.pedantic(lambda: model.solve(COORDS, stages=50, seed=0), rounds=5)


def test_tour_local_search(benchmark):
    benchmark.extra_info.update(slug="udc", work="tour of 100 cities from coordinates", peer="insertion, 2-opt and Or-opt")
    benchmark.pedantic(lambda: routing.local_search(COORDS, routing.random_insertion(COORDS, 0)), rounds=5)


def test_tour_lkh(benchmark):
    pytest.importorskip("elkai")
    benchmark.extra_info.update(slug="udc", work="tour of 100 cities from coordinates", peer="LKH 3 (elkai)")
    benchmark.pedantic(lambda: routing.lkh_tour(COORDS), rounds=5)


@pytest.mark.parametrize("size", [100, 200, 400, 800])
def test_growth(benchmark, model, size):
    benchmark.extra_info.update(slug="udc", work="sketch and 10 stages", size=size)
    coords = np.random.default_rng(0).random((size, 2))
    benchmark.pedantic(lambda: model.solve(coords, stages=10, seed=0), rounds=3)
