"""What every torch optimizer of the package must hold. To enroll a new one, add a line to OPTIMIZERS."""

from __future__ import annotations

import io

import pytest
import torch

from lib.backprop_free.cbo import CBO


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


#: Name -> how to make it for given parameters; randomness comes from a generator that a test can save and restore.
OPTIMIZERS = {
    "CBO": lambda params, g: CBO(params, generator=g),
    "CBO isotropic": lambda params, g: CBO(params, noise=0.3, noise_type="isotropic", generator=g),
}


@pytest.fixture(params=OPTIMIZERS, ids=str)
def make(request):
    return OPTIMIZERS[request.param]


def bowl(dtype=torch.float64):
    """Two parameters of different shape, and the closure of a convex loss with its minimum at zero."""
    params = [torch.nn.Parameter(torch.full(shape, 0.5, dtype=dtype)) for shape in ((2, 2), (3,))]

    def closure():
        loss = sum((p**2).sum() for p in params)
        if loss.requires_grad:
            for p in params:
                p.grad = None
            loss.backward()
        return loss.detach()

    return params, closure


def run(make, steps, seed=0, dtype=torch.float64):
    params, closure = bowl(dtype)
    optimizer = make(params, generator(seed))
    losses = [float(optimizer.step(closure)) for _ in range(steps)]
    return losses, params, closure


def test_is_an_optimizer_that_lowers_a_convex_loss(make):
    params, closure = bowl()
    before = float(closure())
    optimizer = make(params, generator())
    assert isinstance(optimizer, torch.optim.Optimizer)
    for _ in range(40):
        optimizer.step(closure)
    assert float(closure()) < 0.2 * before


def test_repeats_itself_and_leaves_the_global_generator_alone(make):
    state = torch.get_rng_state()
    assert run(make, 5)[0] == run(make, 5)[0]
    assert run(make, 5)[0] != run(make, 5, seed=1)[0]
    assert torch.equal(torch.get_rng_state(), state)


def test_resumed_from_its_state_it_goes_on_as_if_never_stopped(make):
    params, closure = bowl()
    g = generator()
    optimizer = make(params, g)
    for _ in range(3):
        optimizer.step(closure)
    file = io.BytesIO()
    torch.save({"params": params, "optimizer": optimizer.state_dict(), "generator": g.get_state()}, file)
    for _ in range(3):
        optimizer.step(closure)

    again, again_closure = bowl()
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = generator(7)
    resumed = make(again, other)
    resumed.load_state_dict(saved["optimizer"])
    other.set_state(saved["generator"])
    with torch.no_grad():
        for p, q in zip(again, saved["params"], strict=True):
            p.copy_(q)
    for _ in range(3):
        resumed.step(again_closure)
    for p, q in zip(params, again, strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters_keep_shape_dtype_and_identity(make, dtype):
    _, params, _ = run(make, 2, dtype=dtype)
    assert [p.shape for p in params] == [(2, 2), (3,)]
    assert {p.dtype for p in params} == {dtype}
    assert all(isinstance(p, torch.nn.Parameter) and torch.isfinite(p).all() for p in params)


def test_no_parameters_are_refused(make):
    with pytest.raises(ValueError, match="empty parameter list"):
        make([], generator())
