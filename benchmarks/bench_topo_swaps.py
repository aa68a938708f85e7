"""TOPO: swaps from one factor against factoring and regressing anew; searches against NOTEARS and DAGMA; growth with d."""

from __future__ import annotations

import numpy as np
import pytest

from lib import experiment
from lib.constrained import topo_swaps as topo
from lib.constrained.topo_swaps import study


def stream(*axes):
    return experiment.rng(0, *axes)


def start(d):
    return stream("start", d).permutation(d)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


@pytest.mark.parametrize("peer", [None, "one Cholesky factor per swap", "regressions per column on the data"])
def test_swap_changes(benchmark, peer):
    benchmark.extra_info.update(
        slug="topo_swaps",
        work="changes of the score by 60 swaps, 50 nodes, n = 1000",
        peer=peer,
    )
    inst, order = study.draw_instance(stream, "ER4-50"), start(50)
    later, earlier = np.tril_indices(50, -1)
    some = np.random.default_rng(0).choice(len(later), 60, replace=False)
    a, b = earlier[some], later[some]
    before, published = topo.OrderFit.of(inst.S, order), study.PublishedModel(inst.X)(order)
    swaps = list(zip(a, b, strict=True))
    calls = {
        None: lambda: topo.OrderFit.of(inst.S, order).swap_changes(a, b),
        "one Cholesky factor per swap": lambda: [
            topo.OrderFit.of(inst.S, topo.swapped(order, i, j)).score - before.score for i, j in swaps
        ],
        "regressions per column on the data": lambda: published.swap_changes(a, b),
    }
    found = benchmark.pedantic(calls[peer], rounds=1 if peer and "data" in peer else 5)
    np.testing.assert_allclose(found, calls[None](), atol=1e-6 * topo.order_score(inst.S, order))


@pytest.mark.parametrize("peer", [None, "the published form", "NOTEARS", "DAGMA"])
def test_to_equal_score(benchmark, peer):
    benchmark.extra_info.update(
        slug="topo_swaps",
        work="a graph of 20 nodes, 40 edges; TOPO's score is not above the peer's",
        peer=peer,
    )
    inst = study.draw_instance(stream, "ER2-20", 1)
    calls = {
        None: lambda: topo.topological_swaps(inst.S, start(20)).order,
        "the published form": lambda: topo.topological_swaps(None, start(20), refit=study.PublishedModel(inst.X)).order,
        "NOTEARS": lambda: topo.dag_from_weights(study.notears_linear(inst.X))[1],
        "DAGMA": lambda: topo.dag_from_weights(study.dagma_linear(inst.X))[1],
    }
    order = benchmark.pedantic(calls[peer], rounds=1 if peer else 5)
    assert topo.order_score(inst.S, calls[None]()) <= topo.order_score(inst.S, order) + 1e-3


@pytest.mark.parametrize("size", [25, 50, 100, 200])
def test_growth_with_the_nodes(benchmark, size):
    benchmark.extra_info.update(slug="topo_swaps", work="ER2, random start, 5 d and 20 d candidates", size=size)
    inst = study.draw_instance(stream, f"ER2-{size}")
    run = benchmark.pedantic(
        lambda: topo.topological_swaps(inst.S, start(size), 5 * size, 20 * size, 5),
        rounds=2,
    )
    assert run.success
