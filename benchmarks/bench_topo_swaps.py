"""TOPO: swaps from one factor against factoring and regressing anew; searches against NOTEARS and DAGMA; growth with d."""

from __future__ import annotations

import numpy as np
import pytest

from lib import experiment
from lib.constrained import topo_swaps as topo


def stream(*axes):
    return experiment.rng(0, *axes)


def start(d):
    return stream("start", d).permutation(d)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


def regress_columns(X, order, a, b):
    """Losses of the columns at positions a .. b by a regression per column on the data: what the authors' code does."""
    losses = []
    for k in range(a, b + 1):
        coef = np.linalg.lstsq(X[:, order[:k]], X[:, order[k]], rcond=None)[0]
        losses.append(0.5 * np.mean((X[:, order[k]] - X[:, order[:k]] @ coef) ** 2))
    return losses


@pytest.mark.parametrize("peer", [None, "one Cholesky factor per swap", "regressions per column on the data"])
def test_swap_changes(benchmark, peer):
    benchmark.extra_info.update(
        slug="topo_swaps",
        work="changes of the score by 60 swaps, 50 nodes, n = 1000",
        peer=peer,
    )
    inst, order = topo.draw_instance(stream, "ER4-50"), start(50)
    later, earlier = np.tril_indices(50, -1)
    some = np.random.default_rng(0).choice(len(later), 60, replace=False)
    a, b = earlier[some], later[some]
    X, before = inst.X - inst.X.mean(axis=0), topo.OrderFit.of(inst.S, order)
    halves = before.pivots / 2
    swaps = list(zip(a, b, strict=True))
    calls = {
        None: lambda: topo.OrderFit.of(inst.S, order).swap_changes(a, b),
        "one Cholesky factor per swap": lambda: [
            topo.OrderFit.of(inst.S, topo.swapped(order, i, j)).score - before.score for i, j in swaps
        ],
        "regressions per column on the data": lambda: [
            sum(regress_columns(X, topo.swapped(order, i, j), i, j)) - halves[i : j + 1].sum() for i, j in swaps
        ],
    }
    found = benchmark.pedantic(calls[peer], rounds=1 if peer and "data" in peer else 5)
    np.testing.assert_allclose(found, calls[None](), atol=1e-6 * topo.order_score(inst.S, order))


@pytest.mark.parametrize("peer", [None, "NOTEARS", "DAGMA"])
def test_to_equal_score(benchmark, peer):
    benchmark.extra_info.update(
        slug="topo_swaps",
        work="a graph of 20 nodes, 40 edges; TOPO's score is not above the peer's",
        peer=peer,
    )
    inst = topo.draw_instance(stream, "ER2-20", 1)
    calls = {
        None: lambda: topo.topological_swaps(inst.S, start(20)).order,
        "NOTEARS": lambda: topo.dag_from_weights(topo.notears_linear(inst.X))[1],
        "DAGMA": lambda: topo.dag_from_weights(topo.dagma_linear(inst.X))[1],
    }
    order = benchmark.pedantic(calls[peer], rounds=1 if peer else 5)
    assert topo.order_score(inst.S, calls[None]()) <= topo.order_score(inst.S, order) + 1e-3


@pytest.mark.parametrize("size", [25, 50, 100, 200])
def test_growth_with_the_nodes(benchmark, size):
    benchmark.extra_info.update(slug="topo_swaps", work="ER2, random start, 5 d and 20 d candidates", size=size)
    inst = topo.draw_instance(stream, f"ER2-{size}")
    run = benchmark.pedantic(
        lambda: topo.topological_swaps(inst.S, start(size), 5 * size, 20 * size, 5),
        rounds=2,
    )
    assert run.success
