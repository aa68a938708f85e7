"""GBNN: a piece by our L-BFGS against scikit-learn's network; training against Adam; growth with the units; prediction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.neural_network import MLPRegressor

from lib import experiment
from lib.backprop_free import gbnn
from lib.backprop_free.gbnn import pieces
from lib.backprop_free.gbnn.study import rivals, sets

#: Peer -> why ours takes longer.
SLOWER = {
    "SciPy's L-BFGS-B on the same objective": "our L-BFGS sums in one order, so that results are the same on every processor",
    "Adam": "boosting fits every unit to convergence; the network of the same size is trained once",
    "SGD": "boosting fits every unit to convergence; the network of the same size is trained once",
    "L-BFGS": "boosting fits every unit to convergence; the network of the same size is trained once",
    "trees": "scikit-learn's trees are compiled; each of our units is an optimization",
}


def stream(*axes):
    return experiment.rng(0, *axes)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


@pytest.fixture(scope="module")
def part():
    return sets.split("vehicle", stream("bench"), 400, 400)


@pytest.mark.parametrize("peer", [None, "scikit-learn's MLPRegressor", "SciPy's L-BFGS-B on the same objective"])
def test_piece(benchmark, part, peer):
    benchmark.extra_info.update(slug="gbnn", work="one piece of one unit, 400 rows, 18 features, 100 iterations", peer=peer)
    r = (part.y == 0) - 0.25
    sizes = (18, 1, 1)
    arguments = (np.ascontiguousarray(part.X.T), r, sizes, 1e-4, "logistic", "squared")

    def scipy_fit():
        start = pieces._initial_weights(sizes, "logistic", np.random.default_rng(0))
        options = {"maxiter": 100, "gtol": 0.0}
        return minimize(pieces._objective, start, arguments, method="L-BFGS-B", jac=True, options=options)

    theirs = MLPRegressor(hidden_layer_sizes=1, activation="logistic", solver="lbfgs", max_iter=100, tol=0.0, random_state=0)
    calls = {
        None: lambda: gbnn.fit_piece(part.X, r, max_iter=100, seed=0),
        "scikit-learn's MLPRegressor": lambda: rivals.fitted(theirs, part.X, r),
        "SciPy's L-BFGS-B on the same objective": scipy_fit,
    }
    benchmark.pedantic(calls[peer], rounds=5)


@pytest.mark.parametrize("peer", [None, "Adam", "SGD", "L-BFGS", "trees"])
def test_training(benchmark, part, peer):
    benchmark.extra_info.update(slug="gbnn", work="99 units (trees: 100 rounds), 400 rows, 4 classes", peer=peer)
    method = peer or "GBNN"
    value = rivals.GRIDS[method][1][4] if peer else (0.25, 0.5)
    more = {} if peer else {"max_iter": 100}
    model = benchmark.pedantic(lambda: rivals.fitted(rivals.make(method, value, 0, 99, **more), part.X, part.y), rounds=2)
    assert np.mean(model.predict(part.X_test) == part.y_test) > 0.6


@pytest.mark.parametrize("size", [25, 50, 100])
def test_growth_with_the_units(benchmark, part, size):
    benchmark.extra_info.update(slug="gbnn", work="one unit a step, 400 rows, 4 classes", size=size)
    model = benchmark.pedantic(lambda: gbnn.GBNNClassifier(size, max_iter=50, random_state=0).fit(part.X, part.y), rounds=2)
    assert model.to_mlp().W1.shape == (18, size)


@pytest.mark.parametrize("peer", [None, "all 200 units"])
def test_prediction_of_a_cut_network(benchmark, part, peer):
    benchmark.extra_info.update(slug="gbnn", work="20 000 rows with the first 40 units", peer=peer)
    model = gbnn.GBNNClassifier(200, max_iter=5, random_state=0).fit(part.X, part.y)
    used, rows = model if peer else model.truncate(40), np.tile(part.X, (50, 1))
    benchmark.pedantic(lambda: used.predict(rows), rounds=5)
