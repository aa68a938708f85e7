"""M-FAC as an optimizer: closed forms, the written-out update, and what every torch optimizer must hold."""

import copy
import io
import pickle

import pytest
import torch

from lib.gradient.mfac import MFAC, KeepPruned
from tests.conformance import test_optimizers as shared


def make(params, _=None, **settings):
    return MFAC(params, **{"lr": 0.1, "ngrads": 8, "damp": 0.1} | settings)


def bowl(dtype=torch.float64):
    return shared.bowl(dtype)


@pytest.fixture
def gen():
    return torch.Generator().manual_seed(3)


def feed(optimizer, params, gradients):
    for row in gradients:
        at = 0
        for p in params:
            p.grad = row[at : at + p.numel()].view_as(p).clone()
            at += p.numel()
        optimizer.step()


def flat(params):
    return torch.cat([p.detach().flatten() for p in params])


def written_out(w, gradients, lr, m, damp, momentum=0.0, weight_decay=0.0):
    """The method in dense algebra."""
    w, kept, v = w.clone(), [], torch.zeros_like(w)
    for g in gradients:
        g = g + weight_decay * w
        kept = [*kept, g][-m:]
        F = damp * torch.eye(len(w), dtype=w.dtype) + sum(torch.outer(h, h) for h in kept) / m
        u = torch.linalg.solve(F, g)
        if momentum:
            v = momentum * v + (1 - momentum) * u
            u = v
        w = w - lr * u
    return w


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"weight_decay": 0.3}, {"momentum": 0.5, "weight_decay": 0.1}])
def test_steps_are_those_of_dense_algebra(gen, settings):
    params, _ = bowl()
    start, gradients = flat(params), torch.randn(9, 7, generator=gen, dtype=torch.float64)
    feed(MFAC(params, lr=0.05, ngrads=4, damp=0.02, **settings), params, gradients)
    torch.testing.assert_close(flat(params), written_out(start, gradients, 0.05, 4, 0.02, **settings), rtol=1e-9, atol=1e-9)


def test_first_step_in_closed_form(gen):
    params, _ = bowl()
    start, g = flat(params), torch.randn(7, generator=gen, dtype=torch.float64)
    feed(MFAC(params), params, g[None])
    expected = 1e-3 * g / (1e-5 + g @ g / 1024)
    torch.testing.assert_close(start - flat(params), expected, rtol=1e-6, atol=0)


def test_defaults_are_the_authors():
    defaults = MFAC(bowl()[0]).defaults
    assert defaults == {"lr": 1e-3, "ngrads": 1024, "damp": 1e-5, "momentum": 0.0, "weight_decay": 0.0}


def test_groups_have_their_own_rate_and_decay_and_one_window(gen):
    params, _ = bowl()
    start, gradients = flat(params), torch.randn(3, 7, generator=gen, dtype=torch.float64)
    groups = [{"params": params[:1], "lr": 0.0}, {"params": params[1:], "lr": 0.1}]
    optimizer = MFAC(groups, ngrads=4, damp=0.02)
    feed(optimizer, params, gradients)
    assert torch.equal(params[0].flatten(), start[:4])
    G = optimizer.window.G[:3]
    torch.testing.assert_close(G, gradients)
    moved = sum(
        torch.linalg.solve(0.02 * torch.eye(7, dtype=G.dtype) + gradients[: t + 1].T @ gradients[: t + 1] / 4, gradients[t])
        for t in range(3)
    )
    torch.testing.assert_close(flat(params)[4:], start[4:] - 0.1 * moved[4:], rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="damp must be the same"):
        MFAC([{"params": params[:1]}, {"params": params[1:], "damp": 1.0}])


def test_a_group_can_be_added_before_the_first_step_only():
    params, closure = bowl()
    optimizer = make(params[:1])
    optimizer.add_param_group({"params": params[1:]})
    before = params[1].clone()
    optimizer.step(closure)
    assert not torch.equal(params[1], before)
    with pytest.raises(ValueError, match="group"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})


def test_a_parameter_without_gradient_is_zero_in_the_window_and_stays():
    params, _ = bowl()
    optimizer, before = make(params), params[0].clone()
    params[1].grad = torch.ones_like(params[1])
    optimizer.step()
    assert torch.equal(params[0], before)
    assert optimizer.window.G[0].tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_resumed_in_the_middle_it_goes_on_as_if_never_stopped(gen, momentum):
    gradients = torch.randn(11, 7, generator=gen, dtype=torch.float64)
    params, _ = bowl()
    optimizer = make(params, ngrads=4, momentum=momentum, weight_decay=0.1)
    feed(optimizer, params, gradients[:6])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = copy.deepcopy(params)
    resumed = make(again, lr=7.0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    copied = pickle.loads(pickle.dumps((optimizer, params)))
    for opt, group in ((optimizer, params), (resumed, again), copied):
        feed(opt, group, gradients[6:])
    assert torch.equal(flat(again), flat(params))
    assert torch.equal(flat(copied[1]), flat(params))


def test_state_of_half_precision_weights_keeps_its_digits(gen):
    gradients = torch.randn(9, 5, generator=gen).bfloat16()
    params = [torch.nn.Parameter(torch.ones(5, dtype=torch.bfloat16))]
    optimizer = make(params, momentum=0.9)
    feed(optimizer, params, gradients[:4])
    again = copy.deepcopy(params)
    resumed = make(again)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.window.G.dtype == torch.float32
    feed(optimizer, params, gradients[4:])
    feed(resumed, again, gradients[4:])
    assert torch.equal(params[0], again[0])
    assert params[0].dtype == torch.bfloat16


def test_a_state_for_other_parameters_is_refused():
    params, closure = bowl()
    optimizer = make(params)
    optimizer.step(closure)
    other = [torch.nn.Parameter(torch.ones(n)) for n in (2, 2)]
    with pytest.raises(ValueError, match="7 parameters"):
        make(other).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_names_the_step_and_changes_nothing(bad):
    params, closure = bowl()
    optimizer = make(params)
    for _ in range(2):
        optimizer.step(closure)
    before, window = flat(params), optimizer.window.state_dict()
    closure()
    params[0].grad[0, 0] = bad
    with pytest.raises(ValueError, match="step 3"):
        optimizer.step()
    assert torch.equal(flat(params), before)
    assert torch.equal(optimizer.window.G, window["G"])
    optimizer.step(closure)


def test_a_loss_that_is_not_finite_and_an_interrupt_change_nothing():
    params, closure = bowl()
    optimizer = make(params)
    optimizer.step(closure)
    before = flat(params)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(ValueError, match="loss"):
        optimizer.step(lambda: torch.tensor(torch.nan))
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(interrupted)
    assert torch.equal(flat(params), before)
    assert optimizer.window.n_updates == 1


def test_settings_may_change_between_steps_but_not_the_window():
    params, closure = bowl()
    optimizer = make(params)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
    optimizer.step(closure)
    scheduler.step()
    optimizer.param_groups[0]["damp"] = 1.0
    optimizer.step(closure)
    assert optimizer.window.damp == 1.0
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    for name, bad in (("lr", -1.0), ("momentum", 1.0), ("ngrads", 9)):
        broken = make(bowl()[0])
        broken.step(bowl()[1]) if name != "ngrads" else None
        optimizer.param_groups[0][name], kept = bad, optimizer.param_groups[0][name]
        with pytest.raises(ValueError, match=name):
            optimizer.step(closure)
        optimizer.param_groups[0][name] = kept


def test_parameters_that_change_after_the_first_step_are_noticed():
    params, closure = bowl()
    optimizer = make(params)
    optimizer.step(closure)
    params[0].requires_grad_(False)
    with pytest.raises(ValueError, match="first step"):
        optimizer.step(closure)
    params[1].requires_grad_(False)
    with pytest.raises(ValueError, match="requires a gradient"):
        optimizer.step(closure)


@pytest.mark.parametrize("name", ["lr", "ngrads", "damp", "momentum", "weight_decay"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, "0.1", None])
def test_bad_settings_are_refused_by_name(name, bad):
    with pytest.raises((TypeError, ValueError), match=name):
        MFAC(bowl()[0], **{name: bad})


def test_pruned_weights_stay_zero_under_momentum_and_decay():
    params, closure = bowl()
    optimizer = make(params, momentum=0.9, weight_decay=0.01)
    optimizer.step(closure)
    mask = torch.tensor([[True, False], [False, True]])
    keep = KeepPruned(optimizer, params[:1], [mask])
    for _ in range(50):
        optimizer.step(closure)
        assert (params[0][~mask] == 0).all()
    keep.remove()
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert (params[0][~mask] != 0).all()


def test_what_every_torch_optimizer_holds():
    shared.test_is_an_optimizer_that_lowers_a_convex_loss(make)
    shared.test_resumed_from_its_state_it_goes_on_as_if_never_stopped(make)
    for dtype in (torch.float32, torch.float64):
        shared.test_parameters_keep_shape_dtype_and_identity(make, dtype)
    shared.test_no_parameters_are_refused(make)
    shared.test_a_frozen_parameter_stays(make)
    shared.test_a_second_group_is_honored_or_refused(make)
    shared.test_a_closure_that_calls_backward_works_under_no_grad_too(make)
    shared.test_parameters_of_several_types_keep_theirs(make)
    assert shared.run(make, 5)[0] == shared.run(make, 5)[0]


def test_weights_that_are_loaded_after_construction_count():
    params, closure = bowl()
    optimizer = make(params)
    with torch.no_grad():
        for p in params:
            p.fill_(1e-3)
    optimizer.step(closure)
    assert float(closure()) < 1e-4


def test_closures_loss_is_returned_and_no_closure_is_needed():
    params, closure = bowl()
    optimizer = make(params)
    loss = float(closure())
    assert optimizer.step() is None
    params, closure = bowl()
    assert float(make(params).step(closure)) == loss


def test_sparse_trains_only_what_was_not_zero(gen):
    params, _ = bowl()
    with torch.no_grad():
        params[0].view(-1)[0] = 0.0
    start = flat(params)
    alive = start != 0
    gradients = torch.randn(6, len(start), generator=gen, dtype=torch.float64)
    optimizer = MFAC(params, lr=0.05, ngrads=4, damp=0.02, momentum=0.5, weight_decay=0.1, sparse=True)
    feed(optimizer, params, gradients)
    expected = written_out(start[alive], gradients[:, alive], 0.05, 4, 0.02, 0.5, 0.1)
    torch.testing.assert_close(flat(params)[alive], expected, rtol=1e-9, atol=1e-9)
    assert (flat(params)[~alive] == 0).all()
    assert optimizer.window.d == int(alive.sum())


def test_sparse_resumes_in_the_middle(gen):
    gradients = torch.randn(8, 7, generator=gen, dtype=torch.float64)

    def started():
        params, _ = bowl()
        with torch.no_grad():
            params[0].view(-1)[0] = 0.0
        return params, MFAC(params, lr=0.05, ngrads=4, damp=0.02, sparse=True)

    params, optimizer = started()
    feed(optimizer, params, gradients[:4])
    copied, other = started()
    with torch.no_grad():
        for p, q in zip(copied, params, strict=True):
            p.copy_(q)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    clone = pickle.loads(pickle.dumps(optimizer))
    feed(optimizer, params, gradients[4:])
    feed(other, copied, gradients[4:])
    torch.testing.assert_close(flat(copied), flat(params), rtol=0, atol=0)
    assert clone.sparse
    assert torch.equal(clone.state_dict()["alive"], other.state_dict()["alive"])


def test_sparse_refuses_a_network_of_zeros():
    w = torch.nn.Parameter(torch.zeros(3))
    optimizer = MFAC([w], sparse=True)
    w.sum().backward()
    with pytest.raises(ValueError, match="sparse"):
        optimizer.step()
