"""FZooS: the mean of the process against scikit-learn's, a round against FedZO's, growth with dimension and features."""

from __future__ import annotations

import numpy as np
import pytest

from lib import experiment
from lib.backprop_free import fzoos
from lib.backprop_free.fzoos import study

#: Peer -> why ours takes longer.
SLOWER = {
    "FedZO": "FedZO has no model of the objective: two rounds of ours fit random features to all queries",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


@pytest.mark.parametrize("peer", [None, "scikit-learn, gradient by differences of its mean"])
def test_gradient_of_a_process(benchmark, peer):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    work = "fit to 150 points in 100 dimensions, then one gradient of the mean"
    benchmark.extra_info.update(slug="fzoos", work=work, peer=peer)
    rng = np.random.default_rng(0)
    X, x = rng.random((150, 100)), rng.random(100)
    y = np.sin(X.sum(1))

    def ours():
        return fzoos.GPGradient("rbf", 4.0, 1e-6).fit(X, y).gradient(x)

    def theirs():
        gp = GaussianProcessRegressor(RBF(4.0, "fixed"), alpha=1e-6, optimizer=None).fit(X, (y - y.min()) / np.ptp(y))
        moved = np.vstack([x + 1e-5 * np.eye(100), x - 1e-5 * np.eye(100)])
        ahead, behind = np.split(gp.predict(moved), 2)
        return np.ptp(y) * (ahead - behind) / 2e-5

    found = benchmark.pedantic(theirs if peer else ours, rounds=5, warmup_rounds=1)
    np.testing.assert_allclose(found, ours(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("peer", [None, "FedZO"])
def test_round(benchmark, peer):
    work = "two rounds on the quadratics, 300 variables, 5 clients, 1000 features"
    benchmark.extra_info.update(slug="fzoos", work=work, peer=peer)
    clients = study.synthetic_quadratic(300, 5, 5.0, seed=0)
    options = {"rounds": 2, "n_features": 1000, "feature_scale": 3.0, "vectorized": True, "seed": 0}
    method = "fedzo" if peer else "fzoos"
    result = benchmark.pedantic(
        lambda: fzoos.federated_minimize(clients.fs, np.full(300, 0.9), method, **options), rounds=3, warmup_rounds=1
    )
    assert result.success


@pytest.mark.parametrize("d", [100, 300, 900])
def test_growth_with_dimension(benchmark, d):
    benchmark.extra_info.update(slug="fzoos", work="two rounds on quadratics of n variables, 2 clients, 500 features", size=d)
    clients = study.synthetic_quadratic(d, 2, 5.0, seed=0)
    options = {"rounds": 2, "n_features": 500, "vectorized": True, "seed": 0}
    benchmark.pedantic(lambda: fzoos.federated_minimize(clients.fs, np.full(d, 0.9), **options), rounds=2)


@pytest.mark.parametrize("m", [500, 2000, 8000])
def test_growth_with_features(benchmark, m):
    benchmark.extra_info.update(slug="fzoos", work="weights of n features from 500 points in 300 dimensions", size=m)
    rng = np.random.default_rng(0)
    features = fzoos.RandomFourierSurrogate(300, m, 3.0, seed=0)
    X, y = rng.random((500, 300)), rng.random(500)
    benchmark.pedantic(lambda: features.fit(X, y), rounds=3, warmup_rounds=1)
