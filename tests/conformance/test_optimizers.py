"""What every torch optimizer of the package must hold. To enroll a new one, add a line to OPTIMIZERS."""

from __future__ import annotations

import io

import pytest
import torch

from lib.backprop_free.cbo import CBO
from lib.constrained.bilevel_penalty import STORM
from lib.gradient.mfac import MFAC
from lib.gradient.target_surrogates import SSO


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class LossAsTarget(SSO):
    """SSO asks for two functions; here the loss of the closure is itself the one target, as steep as the closure says."""

    def step(self, closure=None):
        params = [p for p in self.param_groups[0]["params"] if p.requires_grad]

        def targets():
            for p in params:
                p.grad = None
            loss = torch.as_tensor(closure(), dtype=torch.float64)
            if not torch.isfinite(loss.detach()):
                raise ValueError("the closure gave NaN")
            if all(p.grad is None for p in params):
                return loss.reshape(1)
            loss = loss.detach()
            slopes = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in params]
            return (loss + sum(((p - p.detach()) * s).sum() for p, s in zip(params, slopes, strict=True))).reshape(1)

        return super().step(lambda: (targets, torch.sum))


#: Name -> how to make it for given parameters; randomness comes from a generator that a test can save and restore.
OPTIMIZERS = {
    "CBO": lambda params, g: CBO(params, generator=g),
    "CBO isotropic": lambda params, g: CBO(params, noise=0.3, noise_type="isotropic", generator=g),
    "STORM": lambda params, g: STORM(params, lr=0.1, eta=0.5),
    "MFAC": lambda params, g: MFAC(params, lr=0.1, ngrads=8, damp=0.1),
    "MFAC momentum": lambda params, g: MFAC(params, lr=0.1, ngrads=8, damp=0.1, momentum=0.9, weight_decay=0.01),
    "SSO": lambda params, g: LossAsTarget(params),
}
#: Those that draw nothing.
DETERMINISTIC = {"MFAC", "MFAC momentum", "SSO", "STORM"}
#: The classes that are tried.
CLASSES = {CBO, MFAC, SSO, STORM}


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


def test_repeats_itself_and_leaves_the_global_generator_alone(make, request):
    state = torch.get_rng_state()
    assert run(make, 5)[0] == run(make, 5)[0]
    if request.node.callspec.params["make"] not in DETERMINISTIC:
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


def test_a_frozen_parameter_stays(make):
    params, closure = bowl()
    params[1].requires_grad_(False)
    before = params[1].clone()
    optimizer = make(params, generator())
    for _ in range(3):
        optimizer.step(closure)
    assert torch.equal(params[1], before)
    assert not torch.equal(params[0], torch.full((2, 2), 0.5, dtype=torch.float64))


def test_weights_that_are_loaded_after_construction_count(make):
    params, closure = bowl()
    optimizer = make(params, generator())
    with torch.no_grad():
        for p in params:
            p.fill_(1e-3)
    optimizer.step(closure)
    assert float(closure()) < 1.0


def test_a_second_group_is_honored_or_refused(make):
    params, closure = bowl()
    optimizer = make(params[:1], generator())
    refused = ""
    try:
        optimizer.add_param_group({"params": params[1:]})
    except ValueError as error:
        refused = str(error)
    if refused:
        assert "group" in refused
        return
    before = params[1].clone()
    optimizer.step(closure)
    assert not torch.equal(params[1], before)


def test_a_closure_that_calls_backward_works_under_no_grad_too(make):
    params, _ = bowl()
    optimizer = make(params, generator())

    def closure():
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) >= 0


@pytest.mark.parametrize("what", ["NaN", "interrupt"])
def test_what_ends_a_step_leaves_finite_parameters(make, what, request):
    params, closure = bowl()
    optimizer = make(params, generator())
    optimizer.step(closure)
    # CBO asks for the first two swarms' energies; MFAC calls its closure once a step.
    calls, fine = 0, 0 if request.node.callspec.params["make"].startswith(("MFAC", "STORM")) else 2

    def broken():
        nonlocal calls
        calls += 1
        if calls > fine:
            if what == "interrupt":
                raise KeyboardInterrupt
            return torch.tensor(float("nan"), dtype=torch.float64)
        return closure()

    before = [p.clone() for p in params]
    with pytest.raises(KeyboardInterrupt if what == "interrupt" else ValueError):
        optimizer.step(broken)
    for p, q in zip(params, before, strict=True):
        assert torch.equal(p, q)
    optimizer.step(closure)


def test_parameters_of_several_types_keep_theirs(make):
    params = [torch.nn.Parameter(torch.ones(2, dtype=d)) for d in (torch.float64, torch.float32)]
    optimizer = make(params, generator())
    optimizer.step(lambda: sum((p.double() ** 2).sum() for p in params))
    assert [p.dtype for p in params] == [torch.float64, torch.float32]
