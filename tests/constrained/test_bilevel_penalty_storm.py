"""STORM and the recursive momentum: against hand-written recursions, limits, half precision, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.constrained import bilevel_penalty as bp

F64 = {"dtype": torch.float64}


def storm_run(eta, noise, steps=40, lr=0.05):
    w = torch.nn.Parameter(torch.tensor([2.0, -1.0], **F64))
    opt, rng = bp.STORM([w], lr=lr, eta=eta), np.random.default_rng(0)
    for e in noise * rng.normal(size=(steps, 2)):
        opt.step(lambda e=e: (w**2 * torch.tensor([1.0, 3.0])).sum() / 2 + (w * torch.tensor(e)).sum())
    return w.detach()


def test_storm_with_eta_one_is_plain_sgd():
    w = torch.tensor([2.0, -1.0], **F64)
    for e in 0.3 * np.random.default_rng(0).normal(size=(40, 2)):
        w = w - 0.05 * (w * torch.tensor([1.0, 3.0]) + torch.tensor(e))
    torch.testing.assert_close(storm_run(1.0, 0.3), w)


def test_storm_without_noise_is_gradient_descent_for_every_eta():
    torch.testing.assert_close(storm_run(0.1, 0.0), storm_run(1.0, 0.0))


def test_storm_follows_its_recursion():
    w, d, before = torch.tensor([2.0, -1.0], **F64), None, None
    scale = torch.tensor([1.0, 3.0], **F64)
    for e in 0.3 * np.random.default_rng(0).normal(size=(40, 2)):
        new = scale * w + torch.tensor(e)
        d = new if d is None else new + 0.8 * (d - scale * before - torch.tensor(e))
        before, w = w, w - 0.05 * d
    torch.testing.assert_close(storm_run(0.2, 0.3), w)


def test_storm_sees_the_same_dropout_twice():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    seen = []
    net[1].register_forward_hook(lambda m, i, o: seen.append((o == 0) & (i[0] != 0)))
    opt = bp.STORM(net.parameters(), lr=0.0, eta=0.5)
    for _ in range(2):
        opt.step(lambda: net(torch.ones(3, 4)).sum())
    assert len(seen) == 3
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[0], seen[1])


def test_storm_keeps_half_precision_weights_and_float32_estimates():
    w = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    opt = bp.STORM([w], lr=0.01, eta=0.5)
    for _ in range(2):
        opt.step(lambda: (w.float() ** 2).sum())
    assert w.dtype == torch.bfloat16
    assert opt.state[w]["estimate"].dtype == torch.float32
    again = bp.STORM([torch.nn.Parameter(w.detach().clone())], lr=0.01, eta=0.5)
    again.load_state_dict(opt.state_dict())
    (state,) = again.state.values()
    assert torch.equal(state["estimate"], opt.state[w]["estimate"])


def test_storm_needs_a_closure_whose_loss_depends_on_the_parameters():
    w = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="closure"):
        bp.STORM([w]).step()
    with pytest.raises(ValueError, match="depend"):
        bp.STORM([w]).step(lambda: torch.tensor(1.0))
    for lr, eta in ((-1, 0.5), (0.1, 0.0), (0.1, 2)):
        with pytest.raises(ValueError, match=r"lr|eta"):
            bp.STORM([w], lr=lr, eta=eta)


def test_recursive_momentum_is_its_formula():
    d, new, old = (torch.randn(5, **F64) for _ in range(3))
    torch.testing.assert_close(bp.recursive_momentum(d, new, old, 0.3), new + 0.7 * (d - old))
    torch.testing.assert_close(bp.recursive_momentum(d, new, old, 1.0), new)
    with pytest.raises(ValueError, match="shape"):
        bp.recursive_momentum(d, new[:2], old, 0.5)
