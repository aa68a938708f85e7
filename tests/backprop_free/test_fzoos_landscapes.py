"""Ackley's and Levy's functions against torch; clients whose tilts cancel; gradients and lengths that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.backprop_free import fzoos
from lib.backprop_free.fzoos.study.landscapes import LANDSCAPES, landscape


def by_torch(name, z):
    d = len(z)
    if name == "ackley":
        return -20 * torch.exp(-0.2 * (z**2).mean().sqrt()) - torch.exp(torch.cos(2 * torch.pi * z).mean()) + 20 + float(np.e)
    w = 1 + (z - 1) / 4
    inner = ((w[:-1] - 1) ** 2 * (1 + 10 * torch.sin(torch.pi * w[:-1] + 1) ** 2)).sum()
    return (torch.sin(torch.pi * w[0]) ** 2 + inner + (w[-1] - 1) ** 2 * (1 + torch.sin(2 * torch.pi * w[-1]) ** 2)) / d


@pytest.mark.parametrize("name", LANDSCAPES)
@pytest.mark.parametrize("d", [2, 7])
def test_values_and_gradients_are_those_of_torch(name, d):
    clients = landscape(name, d, n_clients=1, heterogeneity=0.0)
    for x in np.random.default_rng(0).uniform(0, 1, (5, d)):
        at = torch.tensor(x, requires_grad=True)
        value = by_torch(name, 20 * at - 10)
        value.backward()
        np.testing.assert_allclose(clients.fs[0](x), float(value.detach()), rtol=1e-12)
        np.testing.assert_allclose(clients.grads[0](x), at.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("name", "best"), [("ackley", 0.5), ("levy", 0.55)])
def test_tilts_cancel_and_the_least_value_is_known(name, best):
    clients = landscape(name, 12, n_clients=4, heterogeneity=3.0, seed=1)
    equal = landscape(name, 12, n_clients=4, heterogeneity=0.0)
    x = np.random.default_rng(2).uniform(0, 1, (6, 12))
    np.testing.assert_allclose(clients.value(x), equal.value(x), atol=1e-12)
    np.testing.assert_allclose(clients.gradient(x), equal.gradient(x), atol=1e-12)
    assert clients.value(np.full(12, best)) == pytest.approx(clients.minimum, abs=1e-12)
    assert np.ptp([f(x[0]) for f in clients.fs]) > 1
    assert (clients.value(x) > 0).all()


def test_points_in_rows_are_each_alone_and_beyond_the_box_it_is_flat():
    f = landscape("levy", 5, n_clients=2, heterogeneity=1.0, seed=0).fs[0]
    x = np.random.default_rng(0).uniform(0, 1, (4, 5))
    np.testing.assert_allclose(f(x), [f(row) for row in x])
    np.testing.assert_allclose(f.gradient(x), [f.gradient(row) for row in x])
    assert (f.gradient(np.full(5, 1.5)) == 0).all()


def test_fzoos_descends_on_levys():
    clients = landscape("levy", 10, n_clients=3, heterogeneity=1.0, seed=0)
    result = fzoos.federated_minimize(
        clients.fs, np.full(10, 0.95), rounds=4, n_features=200, n_server=10, vectorized=True, seed=0
    )
    assert result.fun < 0.9 * result.history["fun"][0]


def test_bad_landscapes_are_refused():
    with pytest.raises(ValueError, match="name"):
        landscape("sphere", 5)
    with pytest.raises(ValueError, match="d must"):
        landscape("levy", 1)
    with pytest.raises(ValueError, match="heterogeneity"):
        landscape("levy", 5, heterogeneity=-1.0)


FEW = {"rounds": 2, "n_features": 20, "n_server": 3, "seed": 0}
BOWLS = [lambda x: ((x - 0.2) ** 2).sum(), lambda x: ((x - 0.6) ** 2).sum()]


@pytest.mark.parametrize(
    ("gamma", "error"), [(lambda t: np.nan, ValueError), (lambda t: "1", TypeError), (lambda t: None, TypeError)]
)
def test_a_length_that_is_no_number_is_named(gamma, error):
    with pytest.raises(error, match=r"gamma\(t\)"):
        fzoos.federated_minimize(BOWLS, [0.9, 0.9], gamma=gamma, **FEW)


@pytest.mark.parametrize("method", ["true", "fzoos"])
@pytest.mark.parametrize("slope", [lambda x: x * np.nan, lambda x: np.zeros(3), lambda x: 1.0])
def test_a_gradient_that_is_none_is_named_with_its_client(method, slope):
    right = lambda x: 2 * (x - 0.2)  # noqa: E731
    with pytest.raises(ValueError, match=r"grads\[1\]\(x\)"):
        fzoos.federated_minimize(BOWLS, [0.9, 0.9], method, grads=[right, slope], **FEW)
