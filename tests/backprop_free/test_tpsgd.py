"""tpSGD's rules, targets, recurrent layers and measurements: derivatives by autograd, least squares, exact small cases."""

from __future__ import annotations

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lib.backprop_free import tpsgd
from lib.backprop_free.tpsgd.rules import ACTIVATIONS, LOSSES

F64 = torch.float64


@pytest.fixture
def double():
    torch.set_default_dtype(F64)
    yield
    torch.set_default_dtype(torch.float32)


def draws(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(size=shape)) for shape in shapes]


def cubes(y, t):
    """A loss of a user's own."""
    return ((y - t).abs() ** 3).sum(-1) / 3


def J(name, y, t):
    """The losses written anew, with torch's own where it has them."""
    tool = nn.functional
    return {
        "l2": lambda: tool.mse_loss(y, t, reduction="none").sum(-1) / 2,
        "l1": lambda: tool.l1_loss(y, t, reduction="none").sum(-1),
        "huber": lambda: tool.huber_loss(y, t, reduction="none").sum(-1),
        "linear": lambda: -torch.einsum("...k,...k->...", y, t),
        "cosine": lambda: 1 - torch.cosine_similarity(y, t, dim=-1),
    }[name]()


# ---------------------------------------------------------------- the rule of one layer
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_those_of_torch(loss):
    y, t = draws((3, 7, 5), (3, 7, 5))
    torch.testing.assert_close(tpsgd.local_loss(2 * y, t, loss), J(loss, 2 * y, t), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [*LOSSES, cubes])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_delta_is_the_automatic_derivative(loss, activation):
    z, t = draws((7, 5), (7, 5))
    z.requires_grad_()
    y = ACTIVATIONS[activation](z)
    value = (cubes if loss is cubes else lambda y, t: J(loss, y, t))(y, t).sum()
    (expected,) = torch.autograd.grad(value, z)
    found = tpsgd.local_delta(y.detach(), t, loss, activation)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_block_moves_as_the_closed_form_says(loss, double):
    x, labels = draws((6, 4))[0], torch.arange(6) % 3
    block = tpsgd.TPBlock(nn.Linear(4, 8), tpsgd.LocalTarget(3, 8, seed=2), loss=loss)
    block.local_loss(x, labels)[1].backward()
    delta = tpsgd.local_delta(block(x).detach(), block.target(labels), loss)
    weights, biases = tpsgd.dense_gradients(x, delta)
    torch.testing.assert_close(block.module.weight.grad.T, weights, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block.module.bias.grad, biases, rtol=1e-12, atol=1e-12)


def test_linear_loss_is_drtp(double):
    """DRTP feeds y* B back as if it were the derivative by the layer's output; with B = -P it is the linear loss."""
    x, labels, P = draws((6, 4))[0], torch.arange(6) % 3, torch.tensor(tpsgd.draw_patterns(3, 8, seed=1))
    layer = nn.Linear(4, 8)
    y = torch.tanh(layer(x))
    y.backward(nn.functional.one_hot(labels, 3).to(F64) @ -P)
    expected = layer.weight.grad / 6
    found = tpsgd.dense_gradients(x, tpsgd.local_delta(y.detach(), P[labels], "linear"))[0]
    torch.testing.assert_close(found.T, expected, rtol=1e-12, atol=1e-12)


def test_copies_of_a_layer_are_computed_side_by_side():
    y, t, x = draws((3, 7, 5), (3, 7, 5), (7, 2))
    for loss in LOSSES:
        delta = tpsgd.local_delta(y, t, loss)
        weights, biases = tpsgd.dense_gradients(x, delta)
        for k in range(3):
            alone = tpsgd.dense_gradients(x, tpsgd.local_delta(y[k], t[k], loss))
            torch.testing.assert_close((weights[k], biases[k]), alone, rtol=1e-13, atol=1e-13)


def test_vectors_without_direction_have_no_cosine():
    zero, t = torch.zeros(2, 3), torch.ones(2, 3)
    assert tpsgd.local_loss(zero, t, "cosine").tolist() == [1, 1]
    assert tpsgd.residual(zero, t, "cosine").abs().sum() == 0
    assert tpsgd.local_loss(t, zero, "cosine").tolist() == [1, 1]
    tiny = torch.full((1, 2), 1e-7)
    torch.testing.assert_close(tpsgd.local_loss(tiny, tiny.flip(1), "cosine"), torch.zeros(1), atol=1e-6, rtol=0)


def test_half_precision_sums_in_more():
    y = torch.full((2, 100_000), 1.01).half()
    value = tpsgd.local_loss(y, torch.zeros_like(y), "l2")
    torch.testing.assert_close(value, torch.full((2,), 0.5 * 100_000 * float(y[0, 0]) ** 2), rtol=1e-3, atol=0)
    assert tpsgd.residual(y, y).dtype == torch.float32


def test_linear_units_learn_the_least_squares_map(double):
    """Acceptance 5: with identity units, full batches and the l2 loss the layer ends at lstsq of the class patterns."""
    x, labels = draws((60, 4))[0], torch.tensor(np.random.default_rng(1).integers(3, size=60))
    block = tpsgd.TPBlock(nn.Linear(4, 8), tpsgd.LocalTarget(3, 8), activation="identity")
    optimizer = torch.optim.SGD(block.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        block.local_loss(x, labels)[1].backward()
        optimizer.step()
    A = torch.cat([x, torch.ones(60, 1)], 1)
    solution = torch.linalg.lstsq(A, block.target(labels)).solution
    torch.testing.assert_close(block.module.weight.T.detach(), solution[:4], rtol=1e-6, atol=1e-6)
    q = tpsgd.read_code(block(x).detach(), block.target.P)
    one_hot = nn.functional.one_hot(labels, 3).to(F64)
    torch.testing.assert_close(q, A @ torch.linalg.lstsq(A, one_hot).solution, rtol=1e-6, atol=1e-6)


def test_read_code_is_least_squares():
    P, y = draws((3, 10), (5, 10))
    expected = torch.tensor(np.linalg.lstsq(P.numpy().T, y.numpy().T, rcond=None)[0].T)
    torch.testing.assert_close(tpsgd.read_code(y, P), expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="linearly independent"):
        tpsgd.read_code(y, P[[0, 1, 1]])
    with pytest.raises(ValueError, match="at least as many"):
        tpsgd.read_code(y[:, :2], P[:, :2])


# ---------------------------------------------------------------- targets
def test_laws_of_the_patterns():
    normal = tpsgd.draw_patterns(50, 400, seed=0)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    sign = tpsgd.draw_patterns(50, 400, "sign", 0.5, 0)
    assert set(np.unique(sign)) == {-0.5, 0.5}
    uniform = tpsgd.draw_patterns(50, 400, "uniform", seed=0)
    assert np.abs(uniform).max() <= 1
    assert abs(uniform.std() - 1 / math.sqrt(3)) < 0.02
    Q = tpsgd.draw_patterns(5, 20, "orthogonal", 2.0, 0)
    np.testing.assert_allclose(Q @ Q.T, 4 * 20 * np.eye(5), atol=1e-10)
    with pytest.raises(ValueError, match="orthogonal"):
        tpsgd.draw_patterns(5, 4, "orthogonal")


def test_random_patterns_are_nearly_orthogonal():
    """E[P_c . P_c'] / d is 1 on the diagonal and 0 off it, with deviations of 1 / sqrt(d)."""
    P = tpsgd.draw_patterns(10, 10_000, seed=0)
    np.testing.assert_allclose(P @ P.T / 10_000, np.eye(10), atol=0.05)


def test_targets_are_rows_of_P_and_mix_for_soft_labels():
    target = tpsgd.LocalTarget(3, (2, 4, 4), seed=0)
    labels = torch.tensor([2, 0, 2])
    torch.testing.assert_close(target(labels), target.P[labels])
    torch.testing.assert_close(target(nn.functional.one_hot(labels, 3).float()), target.P[labels])
    half = target(torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(half[0], (target.P[0] + target.P[1]) / 2)
    assert "law='normal'" in repr(target)


def test_targets_of_layers_are_different_and_never_trained():
    model = tpsgd.TPSequential.dense([4, 8, 8, 3], seed=0)
    before = [block.target.P.clone() for block in model.blocks]
    assert not torch.equal(*before)
    optimizers = model.optimizers(torch.optim.SGD, lr=0.1, momentum=0.9)
    for _ in range(100):
        model.train_step(torch.rand(5, 4), torch.arange(5) % 3, optimizers)
    assert all(torch.equal(a, block.target.P) for a, block in zip(before, model.blocks, strict=True))
    assert {"blocks.0.target.P", "blocks.1.target.P"} <= set(model.state_dict())
    assert not any("P" in name.split(".") for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        (torch.tensor([0, 3]), ValueError),
        (torch.tensor([-1, 0]), ValueError),
        (torch.tensor([], dtype=torch.long), ValueError),
        (torch.tensor([[0, 1]]), ValueError),
        (torch.tensor([[0.5, 0.5]]), ValueError),
        (torch.tensor([[0.5, math.nan, 0.5]]), ValueError),
        (torch.tensor([True, False]), TypeError),
        ([0, 1], TypeError),
        (np.array([0, 1]), TypeError),
    ],
)
def test_bad_labels_are_refused(labels, error):
    with pytest.raises(error, match="labels"):
        tpsgd.LocalTarget(3, 8)(labels)


# ---------------------------------------------------------------- networks, layer by layer
def batch(n=12, d=6, K=3, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, d)), dtype=torch.get_default_dtype()), torch.tensor(rng.integers(K, size=n))


def test_defaults():
    model = tpsgd.TPSequential.dense([6, 8, 3])
    block = model.blocks[0]
    assert (block.loss, block.activation, block.target.law, block.target.scale) == ("l2", "tanh", "normal", 1.0)
    layer = tpsgd.TPRNN(4, tpsgd.LocalTarget(3, 5))
    assert (layer.time, layer.activation, layer.loss, layer.sequence) == ("layer", "tanh", "l2", False)
    torch.testing.assert_close(layer.W_h.T @ layer.W_h, 0.95**2 * torch.eye(5))
    assert not model.blocks[0].module.bias.any()
    assert model.blocks[0].module.weight.abs().max() <= math.sqrt(6 / 14)


def test_no_gradient_crosses_a_layer():
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 8, 3]), batch()
    out, loss = model.blocks[0].local_loss(x.requires_grad_(), labels)
    assert not out.requires_grad
    second = model.blocks[1].local_loss(out, labels)[1]
    others = [x, *model.blocks[0].parameters(), *model.head.parameters()]
    assert torch.autograd.grad(second, others, allow_unused=True) == (None,) * len(others)
    loss.backward()
    assert x.grad is None


def test_hidden_updates_do_not_depend_on_later_weights():
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 8, 3]), batch()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in [*other.blocks[1].parameters(), *other.head.parameters()]:
            p.add_(torch.randn_like(p))
    for m in (model, other):
        m.train_step(x, labels, m.optimizers(torch.optim.SGD, lr=0.1))
    for a, b in zip(model.blocks[0].parameters(), other.blocks[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_blocks_it_is_softmax_regression(double):
    model, (x, labels) = tpsgd.TPSequential([], nn.Linear(6, 3)), batch()
    peer = copy.deepcopy(model.head)
    steps = torch.optim.SGD(peer.parameters(), lr=0.1, momentum=0.9)
    optimizers = model.optimizers(torch.optim.SGD, lr=0.1, momentum=0.9)
    for _ in range(20):
        steps.zero_grad()
        nn.functional.cross_entropy(peer(x), labels).backward()
        steps.step()
        model.train_step(x, labels, optimizers)
    torch.testing.assert_close(model(x), peer(x), rtol=1e-12, atol=1e-12)


def test_zero_hidden_rate_leaves_hidden_layers_frozen():
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 3]), batch()
    before, head = copy.deepcopy(model.blocks.state_dict()), model.head.weight.clone()
    optimizers = model.optimizers(torch.optim.SGD, lr=0.1, hidden_scale=0, momentum=0.9)
    for _ in range(5):
        model.train_step(x, labels, optimizers)
    assert all(torch.equal(before[k], v) for k, v in model.blocks.state_dict().items())
    assert not torch.equal(head, model.head.weight)


def test_steps_return_losses_before_the_step_and_leave_no_gradient():
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 8, 3]), batch()
    expected = model.layerwise_losses(x, labels)
    found = model.train_step(x, labels, model.optimizers(torch.optim.SGD, lr=0.1))
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(p.grad is None for p in model.parameters())
    assert model.layerwise_losses(x, labels)[-1] < expected[-1]


def test_recompute_hands_on_what_the_new_weights_give():
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 8, 3]), batch()
    other = copy.deepcopy(model)
    model.train_step(x, labels, model.optimizers(torch.optim.SGD, lr=0.1), recompute=True)
    first = other.blocks[0]
    optimizer = torch.optim.SGD(first.parameters(), lr=0.1)
    first.local_loss(x, labels)[1].backward()
    optimizer.step()
    expected = other.blocks[1].local_loss(first(x), labels)[1]
    assert model.train_step(x, labels, model.optimizers(torch.optim.SGD, lr=1e-30))[1] != float(expected.detach())
    second = torch.optim.SGD(other.blocks[1].parameters(), lr=0.1)
    expected.backward()
    second.step()
    for a, b in zip(model.blocks.parameters(), other.blocks.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("clip", [None, 0.01])
def test_a_layers_own_step_is_that_of_the_sweep(clip):
    x, labels = torch.rand(6, 4), torch.arange(6) % 3
    model, alone = tpsgd.TPSequential.dense([4, 5, 3], seed=1), tpsgd.TPSequential.dense([4, 5, 3], seed=1)
    losses = model.train_step(x, labels, model.optimizers(torch.optim.SGD, lr=0.1), clip)
    block, expected = alone.blocks[0], alone.blocks[0](x).detach()
    output, loss = block.local_step(x, labels, torch.optim.SGD(block.parameters(), lr=0.1), clip)
    assert loss == losses[0]
    assert torch.equal(output, expected)
    assert not output.requires_grad
    assert torch.equal(block.module.weight, model.blocks[0].module.weight)
    assert all(p.grad is None for p in block.parameters())


def test_a_layers_own_step_refuses_a_loss_that_is_not_finite():
    layer = tpsgd.TPRNN(4, tpsgd.LocalTarget(3, 5))
    before = layer.W_x.detach().clone()
    with pytest.raises(FloatingPointError, match="the loss of the layer is nan"):
        layer.local_step(torch.full((2, 7, 4), torch.nan), torch.tensor([0, 1]), torch.optim.SGD(layer.parameters(), lr=0.1))
    assert torch.equal(layer.W_x, before)


def test_clipping_bounds_a_layers_step():
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 3]), batch()
    before = model.blocks[0].module.weight.clone()
    model.train_step(100 * x, labels, model.optimizers(torch.optim.SGD, lr=1.0), clip=0.01)
    assert (model.blocks[0].module.weight - before).norm() <= 0.010001


def test_divergence_is_told_by_layer():
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 3], activation="identity"), batch()
    optimizers = model.optimizers(torch.optim.SGD, lr=1e6)
    many = (model.train_step(x, labels, optimizers) for _ in range(1000))
    with pytest.raises(FloatingPointError, match=r"layer \d of 2"):
        list(many)


def test_it_resumes_in_the_middle(double):
    def fresh():
        model = tpsgd.TPSequential.dense([6, 8, 8, 3], seed=0)
        return model, model.optimizers(torch.optim.Adam, lr=0.01)

    (x, labels), (model, optimizers) = batch(), fresh()
    for _ in range(3):
        model.train_step(x, labels, optimizers)
    file = io.BytesIO()
    torch.save([model.state_dict(), [o.state_dict() for o in optimizers]], file)
    file.seek(0)
    weights, states = torch.load(file)
    again, others = tpsgd.TPSequential.dense([6, 8, 8, 3], seed=9), None
    again.load_state_dict(weights)
    others = again.optimizers(torch.optim.Adam, lr=0.01)
    for optimizer, state in zip(others, states, strict=True):
        optimizer.load_state_dict(state)
    for _ in range(3):
        assert model.train_step(x, labels, optimizers) == again.train_step(x, labels, others)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), again(x))


def test_same_seed_same_network_other_seed_another():
    a, b, c = (tpsgd.TPSequential.dense([6, 8, 3], seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["blocks.0.target.P"], c["blocks.0.target.P"])


def test_own_losses_for_layers_and_head():
    model = tpsgd.TPSequential.dense([6, 8, 2], loss=cubes)
    model.head_loss = nn.functional.mse_loss
    x, y = torch.randn(20, 6), torch.randn(20, 2)
    optimizers = model.optimizers(torch.optim.SGD, lr=0.05)
    losses = [model.train_step(x, y, optimizers) for _ in range(50)]
    assert losses[-1][1] < losses[0][1]
    with pytest.raises(ValueError, match="one number per sample"):
        tpsgd.local_loss(y, y, lambda a, b: (a - b).sum())


def test_convolutions_have_a_target_per_unit_and_a_loss_per_location(double):
    target = tpsgd.LocalTarget(3, (4, 5, 5), seed=0)
    block = tpsgd.TPBlock(nn.Conv2d(1, 4, 3), target, after=nn.MaxPool2d(2))
    x, labels = torch.randn(6, 1, 7, 7), torch.arange(6) % 3
    out, loss = block.local_loss(x, labels)
    y = torch.tanh(block.module(x))
    torch.testing.assert_close(loss, 0.5 * ((y - target(labels)) ** 2).sum() / 25 / 6)
    torch.testing.assert_close(out, nn.functional.max_pool2d(y, 2).detach())
    torch.testing.assert_close(out, block(x).detach())


def test_bad_parts_are_refused():
    target = tpsgd.LocalTarget(3, 8)
    for bad in (
        lambda: tpsgd.TPBlock("module", target),
        lambda: tpsgd.TPBlock(nn.Linear(4, 8), "target"),
        lambda: tpsgd.TPBlock(nn.Linear(4, 8), target, after="pool"),
        lambda: tpsgd.TPBlock(nn.Linear(4, 8), target, activation="softmax"),
        lambda: tpsgd.TPBlock(nn.Linear(4, 8), target, loss="l3"),
        lambda: tpsgd.TPSequential([nn.Linear(4, 8)], nn.Linear(8, 3)),
        lambda: tpsgd.TPSequential([], nn.Linear(8, 3), head_loss="mse"),
        lambda: tpsgd.TPSequential.dense([4]),
        lambda: tpsgd.TPSequential.dense([4, 0, 3]),
        lambda: tpsgd.TPRNN(4, tpsgd.LocalTarget(3, (2, 2))),
        lambda: tpsgd.TPRNN(4, target, time="never"),
        lambda: tpsgd.TPRNN(4, target, radius=-1),
        lambda: tpsgd.TPRNN(4, target)(torch.zeros(2, 3, 5)),
        lambda: tpsgd.TPBlock(nn.Linear(4, 7), target).local_loss(torch.zeros(2, 4), torch.tensor([0, 1])),
        lambda: tpsgd.TPBlock(nn.Linear(4, 8), target).local_loss(torch.zeros(2, 4), torch.tensor([0])),
        lambda: tpsgd.compare_gradients(nn.Linear(4, 3), torch.zeros(2, 4), torch.tensor([0, 1])),
        lambda: tpsgd.TPSequential.dense([4, 3]).train_step(torch.zeros(2, 4), torch.tensor([0, 1]), []),
        lambda: tpsgd.TPSequential.dense([4, 3]).optimizers(torch.optim.SGD, lr=-1.0),
    ):
        with pytest.raises((TypeError, ValueError)):
            bad()


# ---------------------------------------------------------------- recurrent layers
def recurrent(H=4, d=3, T=6, n=5, seed=0):
    return draws((n, T, d), (n, H), (d, H), (H, H), (H,), seed=seed)


def test_states_are_those_of_torchs_own_layer():
    x, _, W_x, W_h, b = recurrent()
    peer = nn.RNN(3, 4, batch_first=True, dtype=F64)
    with torch.no_grad():
        for p, value in zip(peer.parameters(), (W_x.T, W_h.T, b, 0 * b), strict=True):
            p.copy_(value)
    torch.testing.assert_close(tpsgd.recurrent_states(x, W_x, W_h, b), peer(x)[0].detach(), rtol=1e-12, atol=1e-12)


def test_copies_of_a_recurrent_layer_run_side_by_side():
    x, _, W_x, W_h, b = recurrent()
    stacked = tpsgd.recurrent_states(x, torch.stack([W_x, 2 * W_x]), torch.stack([W_h, W_h]), torch.stack([b, b]))
    torch.testing.assert_close(stacked[1], tpsgd.recurrent_states(x, 2 * W_x, W_h, b), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("loss", ["l2", "l1", "cosine"])
def test_layer_local_gradient_is_backpropagation_through_time_and_forward_mode(loss):
    x, t, *weights = recurrent()
    weights = [w.requires_grad_() for w in weights]
    h = torch.zeros(5, 4, dtype=F64)
    for step in range(6):
        h = torch.tanh(x[:, step] @ weights[0] + h @ weights[1] + weights[2])
    expected = torch.autograd.grad(J(loss, h, t).mean(), weights)
    states = tpsgd.recurrent_states(x, *weights)
    found = torch.autograd.grad(tpsgd.recurrent_loss(states, t, loss).mean(), weights)
    forward = tpsgd.forward_mode_gradients(x, t, *(w.detach() for w in weights), loss=loss)
    for a, b, c in zip(expected, found, forward, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(c, a, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("time", ["last", "all"])
def test_cut_forms_differentiate_one_step_only(time):
    x, t, *weights = recurrent()
    weights = [w.requires_grad_() for w in weights]
    states = tpsgd.recurrent_states(x, *weights, cut=time)
    found = torch.autograd.grad(tpsgd.recurrent_loss(states, t, time=time).mean(), weights)
    full = tpsgd.recurrent_states(x, *(w.detach() for w in weights))
    before = torch.cat([torch.zeros(5, 1, 4, dtype=F64), full[:, :-1]], 1)
    one = torch.tanh(x @ weights[0] + before @ weights[1] + weights[2])
    losses = 0.5 * ((one - t[:, None]) ** 2).sum(-1)
    expected = torch.autograd.grad((losses.mean(1) if time == "all" else losses[:, -1]).mean(), weights)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)


def test_recurrent_layers_stack(double):
    K, layers = 3, []
    for i, (n_in, last) in enumerate(((5, False), (8, True))):
        layers.append(tpsgd.TPRNN(n_in, tpsgd.LocalTarget(K, 8, seed=i), sequence=not last, seed=i))
    model = tpsgd.TPSequential(layers, nn.Linear(8, K))
    x, labels = torch.randn(9, 7, 5), torch.arange(9) % K
    assert model(x).shape == (9, K)
    optimizers = model.optimizers(torch.optim.SGD, lr=0.1, momentum=0.9)
    losses = [model.train_step(x, labels, optimizers, clip=1.0) for _ in range(60)]
    assert losses[-1][-1] < 0.5 * losses[0][-1]
    second = layers[1].local_loss(layers[0](x), labels)[1]
    assert torch.autograd.grad(second, list(layers[0].parameters()), allow_unused=True) == (None, None, None)


def test_recurrent_shapes_are_checked():
    x, t, W_x, W_h, b = recurrent()
    with pytest.raises(ValueError, match="W_x"):
        tpsgd.recurrent_states(x, W_x[:2], W_h, b)
    with pytest.raises(ValueError, match="states and target"):
        tpsgd.recurrent_loss(torch.zeros(5, 6, 4), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="shapes must fit"):
        tpsgd.forward_mode_gradients(x, t, W_x, W_h, b[:2])


# ---------------------------------------------------------------- measurements
def steps(depth, width=32, n=16):
    x, labels = torch.rand(n, 20), torch.arange(n) % 3
    model = tpsgd.TPSequential.dense([20, *[width] * depth, 3])
    optimizers, whole = model.optimizers(torch.optim.SGD, lr=0.01), torch.optim.SGD(model.parameters(), lr=0.01)

    def backprop():
        whole.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), labels).backward()
        whole.step()
        whole.zero_grad(set_to_none=True)

    return (lambda: model.train_step(x, labels, optimizers)), backprop


def test_memory_does_not_grow_with_depth():
    local = [tpsgd.peak_bytes(steps(depth)[0]) for depth in (2, 3, 8)]
    assert len(set(local)) == 1
    back = [tpsgd.peak_bytes(steps(depth)[1]) for depth in (2, 3, 8)]
    assert back[1].saved - back[0].saved == 16 * 32 * 4  # one activation more: samples x width x 4 bytes
    assert back[2].saved - back[1].saved == 5 * 16 * 32 * 4
    assert back[2].total > 2 * back[0].total


def test_peak_counts_what_lives_at_one_time():
    def one_after_the_other():
        for _ in range(5):
            torch.ones(1000)

    def all_at_once():
        return [torch.ones(1000) for _ in range(5)]

    assert tpsgd.peak_bytes(one_after_the_other).total == 4000
    assert tpsgd.peak_bytes(all_at_once).total == 20_000


def test_peak_counts_what_is_held():
    kept, other = torch.ones(500), torch.ones(7)
    assert tpsgd.peak_bytes(lambda: torch.ones(1000), [kept, other, kept[:3]]).total == 4 * (1000 + 500 + 7)
    for bad in (kept, None, "ab", [1.0], 3):
        with pytest.raises(TypeError, match="held"):
            tpsgd.peak_bytes(lambda: None, bad)


def test_compare_gradients_is_the_cosine_of_both(double):
    model, (x, labels) = tpsgd.TPSequential.dense([6, 8, 3], seed=0), batch()
    block = model.blocks[0]
    nn.functional.cross_entropy(model(x), labels).backward()
    far = torch.cat([p.grad.flatten() for p in block.parameters()])
    y = torch.tanh(block.module(x)).detach()
    weights, biases = tpsgd.dense_gradients(x, tpsgd.local_delta(y, block.target(labels)))
    near = torch.cat([weights.T.flatten(), biases])
    (found,) = tpsgd.compare_gradients(model, x, labels)
    assert found == pytest.approx(float(torch.cosine_similarity(near, far, dim=0)), abs=1e-12)
    with torch.no_grad():
        model.head.weight.zero_()
    assert tpsgd.compare_gradients(model, x, labels) == [0.0]
