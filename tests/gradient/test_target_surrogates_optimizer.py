"""The optimizer SSO: gradient descent as a special case, counts, schedules, saved state, and what it refuses."""

from __future__ import annotations

import copy
import io
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn.functional import binary_cross_entropy_with_logits as logistic
from torch.nn.functional import cross_entropy

from lib.gradient import target_surrogates as ts
from lib.gradient.target_surrogates import SSO, TARGET_LOSSES


def data(n=40, d=3, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = (torch.rand(n, generator=g) < torch.sigmoid(2 * X[:, 0])).double()
    return X.to(dtype), y.to(dtype)


def network(seed=0, d=3, dtype=torch.float64):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(d, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).to(dtype)


def closure_of(model, X, y, reduction="mean"):
    return lambda: (lambda: model(X)[:, 0], lambda z: logistic(z, y, reduction=reduction))


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_gradient_of_the_surrogate_at_the_start_is_that_of_the_loss():
    X, y = data()
    model = network()
    f = model(X)[:, 0]
    z = f.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(logistic(z, y, reduction="sum"), z)
    params = list(model.parameters())
    ours = torch.autograd.grad(ts.TargetSurrogate(0.3).value(f, z.detach(), g), params, retain_graph=True)
    loss = torch.autograd.grad(logistic(f, y), params)
    for a, b in zip(ours, loss, strict=True):
        assert_allclose(a, b, atol=1e-10)


def test_value_and_gradient_of_the_surrogate_agree_on_outputs_with_two_axes():
    g = torch.Generator().manual_seed(0)
    f, z, slope = (torch.randn(6, 3, generator=g, dtype=torch.float64) for _ in range(3))
    f.requires_grad_()
    surrogate = ts.TargetSurrogate(torch.linspace(0.5, 2.0, 3, dtype=torch.float64))
    (auto,) = torch.autograd.grad(surrogate.value(f, z, slope), f)
    assert_allclose(surrogate.gradient(f, z, slope).detach(), auto, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_fixed_inner_step_is_torch_sgd(reduction):
    X, y = data()
    ours, theirs = network(), network()
    step = 0.1
    sso = SSO(ours.parameters(), m=1, inner=partial(torch.optim.SGD, lr=step), reduction=reduction)
    sgd = torch.optim.SGD(theirs.parameters(), lr=step)
    for _ in range(20):
        got = sso.step(closure_of(ours, X, y, reduction))
        sgd.zero_grad()
        loss = logistic(theirs(X)[:, 0], y)
        loss.backward()
        sgd.step()
        assert_allclose(float(got), float(loss.detach()) * (1 if reduction == "mean" else len(y)), rtol=1e-12)
        assert_allclose(weights(ours), weights(theirs), atol=1e-12)


def test_linear_model_takes_the_steps_of_the_numpy_core():
    X, y = data()
    w, theta = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64)), np.zeros(3)
    sso = SSO([w], eta=4.0, m=6)
    for _ in range(4):
        sso.step(lambda: (lambda: X @ w, lambda z: logistic(z, y)))
        g = TARGET_LOSSES["logistic"].gradient(X.numpy() @ theta, y.numpy())
        theta = ts.linear_step(X.numpy(), g, theta, 4.0, 6, "armijo")
        assert_allclose(w.detach(), theta, rtol=1e-8)
    exact = SSO([w], eta=4.0, m=1, inner=partial(torch.optim.LBFGS, max_iter=100, tolerance_grad=1e-12, tolerance_change=0))
    exact.step(lambda: (lambda: X @ w, lambda z: logistic(z, y)))
    g = TARGET_LOSSES["logistic"].gradient(X.numpy() @ theta, y.numpy())
    assert_allclose(w.detach(), ts.sso_exact_linear(X.numpy(), g, theta, 4.0), rtol=1e-5)


@pytest.mark.parametrize("m", [1, 3, 10, 50])
def test_descends_on_a_network_for_every_m_below_its_upper_bound(m):
    X, y = data()
    model = network()
    sso = SSO(model.parameters(), eta=4.0, m=m)
    losses, bounds = [], []
    for _ in range(15):
        losses.append(float(sso.step(closure_of(model, X, y))))
        bounds.append(sso.surrogate_value)
    losses.append(float(logistic(model(X)[:, 0].detach(), y)))
    assert max(np.diff(losses)) <= 1e-12
    assert min(np.array(bounds) - losses[1:]) >= -1e-12


@pytest.mark.parametrize("m", [1, 7])
@pytest.mark.parametrize("schedule", ts.SCHEDULES)
def test_one_expensive_gradient_per_step_whatever_m(m, schedule):
    X, y = data()
    model, asked = network(), {"gradients": 0, "values": 0}

    def loss(z):
        asked["gradients" if z.requires_grad else "values"] += 1
        return logistic(z, y)

    sso = SSO(model.parameters(), eta=1.0, m=m, eta_schedule=schedule, total_steps=9)
    for _ in range(9):
        sso.step(lambda: (lambda: model(X)[:, 0], loss))
    assert sso.expensive_calls == asked["gradients"] == 9
    assert sso.value_calls == asked["values"]
    assert (sso.value_calls > 0) == (schedule == "armijo")
    assert sso.inner_steps == 9 * m
    assert sso.forward_passes > 9 * m
    assert sso.failures == 0


def test_schedules_reach_the_surrogate():
    X, y = data()
    wanted = {"sqrt": [2.0, 2 / 2**0.5, 2 / 3**0.5], "exponential": [2.0 * (1 / 9) ** (t / 9) for t in range(3)]}
    for schedule, etas in wanted.items():
        model = network()
        sso = SSO(model.parameters(), eta=2.0, m=1, eta_schedule=schedule, total_steps=9)
        for eta in etas:
            sso.step(closure_of(model, X, y))
            assert_allclose(sso.eta, eta, rtol=1e-12)
    model, squares = network(), 0.0
    sso = SSO(model.parameters(), eta=100.0, m=1, eta_schedule="adagrad")
    for _ in range(3):
        z = model(X)[:, 0].detach()
        squares += float(((torch.sigmoid(z) - y) ** 2).sum())
        sso.step(closure_of(model, X, y))
        assert_allclose(sso.eta, 100.0 / squares**0.5, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_line_searched_steps_are_those_of_the_search(reduction):
    X, y = data()
    model, first = network(), 1.0
    sso = SSO(model.parameters(), eta=first, m=2, eta_schedule="armijo", reduction=reduction)
    for _ in range(6):
        z = model(X)[:, 0].detach()
        g = torch.sigmoid(z) - y
        wanted, _ = ts.target_armijo(lambda new: logistic(new, y), z, g, first)
        sso.step(closure_of(model, X, y, reduction))
        assert_allclose(sso.eta, wanted, rtol=1e-12)
        first = 1.8 * wanted
    assert sso.eta > 4.0


def test_a_function_gives_a_step_for_each_target():
    X, y = data()
    w = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def newton(t, z, g):
        share = torch.sigmoid(z)
        return 1 / (share * (1 - share))

    sso = SSO([w], m=400, eta_schedule=newton, tol=1e-10)
    for _ in range(8):
        sso.step(lambda: (lambda: X @ w, lambda z: logistic(z, y)))
    slope = X.T @ (torch.sigmoid(X @ w.detach()) - y)
    assert float(slope.abs().max()) < 1e-6  # Newton's method, when the surrogate is solved


def test_multiclass_targets_work():
    X, _ = data()
    y = torch.arange(len(X)) % 4
    W = torch.nn.Parameter(torch.zeros(3, 4, dtype=torch.float64))
    sso = SSO([W], eta=2.0, m=5)
    before = [float(sso.step(lambda: (lambda: X @ W, lambda z: cross_entropy(z, y)))) for _ in range(10)]
    assert before[-1] < before[0]
    theta = np.zeros((3, 4))
    again = SSO([torch.nn.Parameter(torch.zeros(3, 4, dtype=torch.float64))], eta=2.0, m=5)
    v = again.param_groups[0]["params"][0]
    again.step(lambda: (lambda: X @ v, lambda z: cross_entropy(z, y)))
    g = TARGET_LOSSES["softmax"].gradient(X.numpy() @ theta, y.numpy())
    assert_allclose(v.detach(), ts.linear_step(X.numpy(), g, theta, 2.0, 5, "armijo"), rtol=1e-8)


@pytest.mark.parametrize("schedule", ["armijo", "adagrad", "exponential"])
def test_resumed_in_the_middle_it_goes_on_the_same(schedule):
    X, y = data()
    make = partial(SSO, eta=1.0, m=3, eta_schedule=schedule, total_steps=20)
    model = network()
    sso = make(model.parameters())
    for _ in range(4):
        sso.step(closure_of(model, X, y))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "sso": sso.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network(5)
    resumed = make(other.parameters())
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["sso"])
    for a, b in ((model, sso), (other, resumed)):
        for _ in range(4):
            b.step(closure_of(a, X, y))
    assert torch.equal(weights(model), weights(other))
    assert (sso.expensive_calls, sso.eta) == (resumed.expensive_calls, resumed.eta) == (8, sso.eta)


def test_copies_and_pickles_go_on_alone():
    X, y = data()
    model = network()
    sso = SSO(model.parameters(), m=2, eta_schedule="armijo", inner=partial(torch.optim.SGD, lr=0.1))
    sso.step(closure_of(model, X, y))
    for twin in (copy.deepcopy(sso), pickle.loads(pickle.dumps(sso))):
        assert (twin.expensive_calls, twin.eta, twin.eta_schedule) == (1, sso.eta, "armijo")
        assert callable(twin.inner)


def test_a_search_that_finds_nothing_is_reported_and_changes_nothing():
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    X = 1e6 * torch.eye(2, dtype=torch.float64)
    sso = SSO([w], eta=1.0, max_trials=3)
    sso.step(lambda: (lambda: X @ w, lambda z: (z**2).mean()))
    assert sso.failures == 1
    assert sso.inner_steps == 0
    assert torch.equal(w, torch.ones(2, dtype=torch.float64))
    sso = SSO([w], eta=1e4, max_trials=3, eta_schedule="armijo")
    sso.step(lambda: (lambda: X @ w, lambda z: (z**2).mean()))
    assert (sso.failures, sso.eta) == (1, None)
    assert torch.equal(w, torch.ones(2, dtype=torch.float64))


def test_gradients_of_the_caller_are_left_alone():
    X, y = data()
    model = network()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    for inner in ("armijo", partial(torch.optim.SGD, lr=0.1)):
        SSO(model.parameters(), m=2, inner=inner).step(closure_of(model, X, y))
        assert all(bool((p.grad == 1).all()) for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_train(dtype):
    X, y = data(dtype=dtype)
    model = network(dtype=dtype)
    sso = SSO(model.parameters(), m=5)
    losses = [float(sso.step(closure_of(model, X, y))) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert {p.dtype for p in model.parameters()} == {dtype}


X3, Y3 = data(3)
GOOD = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("closure", "named"),
    [
        (None, "two functions"),
        (lambda: X3.sum(), "two functions"),
        (lambda: (lambda: X3 @ GOOD, lambda z: logistic(z, Y3, reduction="none")), r"scalar .*\(3,\)"),
        (lambda: (lambda: X3 @ GOOD, lambda z: torch.tensor(1.0)), "differentiable"),
        (lambda: (lambda: X3 @ GOOD.detach(), lambda z: z.sum()), "depend on the parameters"),
        (lambda: (lambda: (X3 @ GOOD).sum(), lambda z: z.sum()), "examples first"),
        (lambda: (lambda: X3 @ GOOD / 0, lambda z: z.sum()), "targets"),
        (lambda: (lambda: X3 @ GOOD, lambda z: z.sum() * float("nan")), "loss"),
        (lambda: (lambda: X3 @ GOOD, lambda z: z.sqrt().sum()), "gradient of loss"),
    ],
)
def test_a_closure_of_another_form_is_refused(closure, named):
    sso = SSO([GOOD], m=2)
    with pytest.raises(ValueError, match=named):
        sso.step(closure)
    assert (sso.expensive_calls, sso.inner_steps) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"eta": 0}, "eta"), ({"m": 0}, "m must"), ({"inner": "newton"}, "inner"), ({"eta_schedule": "cosine"}, "eta_schedule"),
        ({"eta_schedule": "exponential"}, "total_steps"), ({"reduction": "none"}, "reduction"), ({"c": 1.0}, "c must"),
        ({"beta": 1.0}, "beta"), ({"grow": 0.5}, "grow"), ({"tol": -1.0}, "tol"), ({"total_steps": 0}, "total_steps"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        SSO([GOOD], **settings)


def test_an_inner_optimizer_that_diverges_is_said_to():
    X, y = data()
    w = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    sso = SSO([w], m=3000, inner=partial(torch.optim.SGD, lr=1e6))
    with pytest.raises(ValueError, match="too long"):
        sso.step(lambda: (lambda: X @ w, lambda z: logistic(z, y)))
    assert torch.equal(w, torch.zeros(3, dtype=torch.float64))
    assert sso.expensive_calls == 0


def test_a_bad_step_of_a_function_is_named():
    X, y = data()
    model = network()
    sso = SSO(model.parameters(), eta_schedule=lambda t, z, g: -1.0)
    with pytest.raises(ValueError, match="eta"):
        sso.step(closure_of(model, X, y))


def test_a_function_that_returns_no_step_is_named():
    X, y = data()
    model = network()
    sso = SSO(model.parameters(), eta_schedule=lambda t, z, g: None)
    with pytest.raises(TypeError, match="eta_schedule"):
        sso.step(closure_of(model, X, y))
    assert sso.expensive_calls == 0


def test_an_inner_step_to_a_surrogate_that_overflows_is_refused():
    w = torch.nn.Parameter(torch.ones(1))
    sso = SSO([w], m=1, inner=partial(torch.optim.SGD, lr=1e38))
    with pytest.raises(ValueError, match="too long"):
        sso.step(lambda: (lambda: w * torch.ones(2), lambda z: (z**2).mean() / 2))
    assert w.item() == 1


def test_where_no_target_step_is_found_the_surrogate_is_the_loss():
    X, y = data()
    w = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    sso = SSO([w], eta=1.0, eta_schedule="armijo", max_trials=3, alpha=0.1, m=1)
    sso.step(lambda: (lambda: X @ w, lambda z: logistic(z, y)))
    worse = iter(range(100))
    sso.step(lambda: (lambda: X @ w, lambda z: logistic(z, y) + next(worse)))
    assert sso.failures == 1
    assert sso.surrogate_value == pytest.approx(float(logistic(X @ w.detach(), y)))


def test_complex_parameters_are_refused():
    with pytest.raises(TypeError, match="real parameters"):
        SSO([torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))])
