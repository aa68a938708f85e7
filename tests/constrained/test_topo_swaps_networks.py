"""Networks for columns: losses against finite differences and against each other, and both searches on small graphs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from lib import experiment
from lib.constrained import topo_swaps as topo
from lib.constrained.topo_swaps import study
from lib.constrained.topo_swaps.study import networks, protocols
from lib.problems import dags

COLUMN = study.NetworkColumn(hidden=3, l1=0.02, l2=0.03)


@pytest.fixture(scope="module")
def chain():
    return dags.simulate_nonlinear_sem([[0, 1, 0], [0, 0, 1], [0, 0, 0]], 300, seed=1)


def test_gradient_of_a_column_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    X, y, theta = rng.normal(size=(20, 2)), rng.normal(size=20), rng.uniform(0.1, 1.0, 2 * 6 + 3)
    y -= y.mean()
    numeric = approx_fprime(theta, lambda t: networks._column_loss(t, X, y, COLUMN)[0], 1e-7)
    np.testing.assert_allclose(networks._column_loss(theta, X, y, COLUMN)[1], numeric, atol=1e-5)


def test_gradient_of_all_networks_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    X, theta = networks._with_bias(rng.normal(size=(15, 3))), rng.uniform(0.1, 0.5, 2 * 36 + 9)
    numeric = approx_fprime(theta, lambda t: networks._joint_loss(t, X, 2.0, 0.7, COLUMN)[0], 1e-7)
    np.testing.assert_allclose(networks._joint_loss(theta, X, 2.0, 0.7, COLUMN)[1], numeric, atol=1e-4)


def test_without_the_constraint_all_networks_cost_the_sum_of_the_columns():
    rng = np.random.default_rng(3)
    X, A, V = networks._with_bias(rng.normal(size=(15, 3))), rng.normal(size=(4, 3, 3)), rng.normal(size=(3, 3))
    A[np.arange(3), np.arange(3)] = 0.0
    joint = networks._joint_loss(networks._split(A, V), X, 0.0, 0.0, COLUMN)[0]
    single = 0.0
    for j in range(3):
        others = [i for i in range(4) if i != j]
        single += networks._column_loss(networks._split(A[others, j], V[j]), X[:, others], X[:, j], COLUMN)[0]
    assert joint == pytest.approx(single, abs=1e-12)


def test_the_loss_of_a_column_is_that_of_its_formula():
    rng = np.random.default_rng(4)
    X, y, A, v = networks._with_bias(rng.normal(size=(20, 2))), rng.normal(size=20), rng.normal(size=(3, 3)), rng.normal(size=3)
    y -= y.mean()
    fitted = 1 / (1 + np.exp(-X @ A)) @ v
    squares = 0.5 * np.var(y - fitted)  # the intercept takes the mean
    penalties = 0.02 * np.abs(A).sum() + 0.015 * ((A**2).sum() + (v**2).sum())
    assert networks._column_loss(networks._split(A, v), X, y, COLUMN)[0] == pytest.approx(squares + penalties, rel=1e-12)


def test_the_constraint_sums_closed_walks_over_squared_norms_of_rows():
    rng = np.random.default_rng(5)
    X, A, V = networks._with_bias(rng.normal(size=(15, 2))), rng.normal(size=(3, 2, 3)), rng.normal(size=(2, 3))
    A[np.arange(2), np.arange(2)] = 0.0
    there, back = (A[0, 1] ** 2).sum(), (A[1, 0] ** 2).sum()
    h = 2 * np.cosh(np.sqrt(there * back)) - 2  # both nodes: walks of 2, 4, ... steps, divided by 2!, 4!, ...
    with_it, without = (networks._joint_loss(networks._split(A, V), X, *terms, COLUMN)[0] for terms in ((3.0, 0.7), (0.0, 0.0)))
    assert with_it - without == pytest.approx(1.5 * h * h + 0.7 * h, rel=1e-9)


def test_the_first_improving_swap_trains_no_network_beyond_it(chain):
    def trained(swap):
        model = topo.ColumnModel(chain, study.FourierColumn())
        topo.topological_swaps(None, [2, 1, 0], "all", "all", swap=swap, refit=model, max_rounds=1)
        return model.n_regressions

    assert trained("first") < trained("greedy")


def test_a_column_counts_its_passes_and_repeats_itself(chain):
    budget = study.Budget()
    column = study.NetworkColumn(budget=budget)
    loss, strength = column(chain[:, :1], chain[:, 1])
    assert budget.passes > 5
    assert loss < 0.5 * chain[:, 1].var()
    again = study.NetworkColumn()(chain[:, :1], chain[:, 1])
    assert (loss, strength.tolist()) == (again[0], again[1].tolist())
    assert column(chain[:, :0], chain[:, 1])[0] == pytest.approx(0.5 * chain[:, 1].var())


def test_an_intercept_changes_nothing(chain):
    first, second = (study.NetworkColumn()(chain[:, :1], chain[:, 1] + shift)[0] for shift in (0.0, 50.0))
    assert first == pytest.approx(second, rel=1e-4)


def test_both_searches_find_a_chain(chain):
    model = topo.ColumnModel(chain, study.NetworkColumn())
    run = topo.topological_swaps(None, [2, 1, 0], "all", "all", refit=model, tol=1e-3)
    assert run.order.tolist() == [0, 1, 2]
    W = study.notears_networks(chain)
    assert W[0, 1] > 0.5
    assert topo.dag_from_weights(W)[2] < 1e-3
    assert np.diag(W).tolist() == [0.0, 0.0, 0.0]
    order = topo.dag_from_weights(W)[1]
    assert model(order).score == pytest.approx(run.fun, rel=0.05)


def test_refuses_bad_input(chain):
    for bad in ({"hidden": 0}, {"l1": -1.0}, {"l2": np.nan}, {"max_iter": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            study.NetworkColumn(**bad)
    with pytest.raises(ValueError, match="must vary"):
        study.notears_networks(np.ones((5, 2)))
    with pytest.raises(ValueError, match="h_tol"):
        study.notears_networks(chain, h_tol=-1.0)


def test_the_protocol_gives_the_rival_as_many_passes_and_its_best_start():
    def rng(*axes):
        return experiment.rng(0, *axes)

    found = protocols.networks(rng, 0, 3, 80)
    assert found["passes"] >= 1.0
    assert max(found["first"], found["several"]) <= found["start"]
    assert found["onward"] <= found["notears"]
    edges = dags.simulate_dag(3, 3, seed=rng("network", 0))
    W = dags.simulate_weights(edges, seed=rng("network weights", 0))
    X = dags.simulate_nonlinear_sem(W, 80, seed=rng("networks", 0))
    model = topo.ColumnModel(X, study.NetworkColumn())
    first = model(topo.dag_from_weights(study.notears_networks(X))[1]).score - model(dags.topological_order(W)).score
    assert found["notears"] <= first + 1e-5
