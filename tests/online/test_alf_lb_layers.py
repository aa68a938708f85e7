"""The balancer and the layer: dispatch against a plain loop, gates without prices, gradients, state, precision."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch.nn import functional

from lib.online import alf_lb as al
from lib.online.alf_lb import InvStep, LoadBalancer, SignStep, SparseMoE, SqrtStep, auxiliary_loss


def layer(E=4, k=2, seed=0, dtype=torch.float64, **more):
    torch.manual_seed(seed)
    return SparseMoE(8, E, k, 12, **more).to(dtype)


def batch(n=30, seed=1, dtype=torch.float64):
    return torch.randn(n, 8, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_tokens(moe, x, bias=0.0):
    """The layer token by token, as the text says it."""
    rows = []
    for h in x:
        s = torch.sigmoid(moe.router @ h)
        top = sorted(range(len(s)), key=lambda e: (-(s[e].item() + (bias[e].item() if torch.is_tensor(bias) else 0)), e))[
            : moe.k
        ]
        total = sum(s[e] for e in top)
        out = sum(s[e] / total * (functional.gelu(h @ moe.w1[e]) @ moe.w2[e]) for e in top)
        rows.append(out + (moe.shared(h) if moe.shared is not None else 0))
    return torch.stack(rows)


@pytest.mark.parametrize("dispatch", ["sorted", "dense"])
@pytest.mark.parametrize("shared", [0, 1, 2])
def test_layer_is_the_plain_loop_values_and_gradients(dispatch, shared):
    moe, x = layer(5, 2, shared=shared, dispatch=dispatch, balancer=LoadBalancer(5, 2)), batch().requires_grad_()
    moe.balancer.bias += torch.linspace(-0.2, 0.2, 5)
    torch.testing.assert_close(moe(x), by_tokens(moe, x, moe.balancer.bias))
    wanted = [x, moe.router, moe.w1, moe.w2]
    ours = torch.autograd.grad((moe(x) ** 2).sum(), wanted)
    plain = torch.autograd.grad((by_tokens(moe, x, moe.balancer.bias) ** 2).sum(), wanted)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_one_expert_is_a_dense_network():
    moe, x = layer(1, 1), batch()
    torch.testing.assert_close(moe(x), functional.gelu(x @ moe.w1[0]) @ moe.w2[0] + moe.shared(x))


def test_shapes_are_kept_and_idle_experts_do_no_harm():
    moe = layer(4, 1, balancer=LoadBalancer(4, 1))
    moe.balancer.bias[2] = 10.0
    y = moe(batch().reshape(5, 6, 8))
    assert y.shape == (5, 6, 8)
    assert moe.last_load.tolist() == [0, 0, 30, 0]
    y.sum().backward()
    assert moe.w1.grad[0].abs().sum() == 0 < moe.w1.grad[2].abs().sum()


def test_prices_select_and_do_not_touch_the_gates():
    moe, x = layer(4, 2, balancer=LoadBalancer(4, 2)), batch()
    before = moe(x)
    moe.balancer.bias += 7.0  # the same selection
    torch.testing.assert_close(moe(x), before, rtol=0, atol=0)
    assert moe.balancer.bias.grad_fn is None
    assert "balancer.bias" not in dict(moe.named_parameters())


def test_layer_and_fixed_batch_agree():
    """The balancer in a layer does what `alf_lb` does on its scores."""
    for rule in (SignStep(0.01), SqrtStep(0.1), InvStep(0.5)):
        moe, x = layer(4, 2, balancer=LoadBalancer(4, 2, rule)), batch()
        run = al.alf_lb(moe.scores(x).detach().numpy(), 2, rule, 8)
        for n in range(8):
            moe(x)
            np.testing.assert_array_equal(moe.last_load.numpy(), run.loads[n])
            moe.balancer.update()
            np.testing.assert_allclose(moe.balancer.bias.numpy(), run.prices[n + 1], atol=1e-12)


def test_micro_batches_count_together_and_evaluation_not_at_all():
    x = batch()
    whole, parts = (layer(4, 2, balancer=LoadBalancer(4, 2, SqrtStep(0.1))) for _ in range(2))
    whole(x)
    parts(x[:10])
    parts(x[10:])
    parts.eval()
    parts(x)
    whole.balancer.update()
    parts.balancer.update()
    torch.testing.assert_close(whole.balancer.bias, parts.balancer.bias, rtol=0, atol=0)
    assert parts.balancer.pending.sum() == 0
    kept = parts.balancer.bias.clone()
    parts.balancer.update()  # nothing recorded: nothing moves, nothing counts
    torch.testing.assert_close(parts.balancer.bias, kept)
    assert int(parts.balancer.n) == 1
    parts.balancer.update([1, 0, 0, 0])
    assert int(parts.balancer.n) == 2


def test_auxiliary_loss_value_and_gradient():
    s = torch.full((8, 4), 0.3, dtype=torch.float64, requires_grad=True)
    even = torch.arange(8).reshape(8, 1) % 4
    assert auxiliary_loss(s, even, 0.02).item() == pytest.approx(0.02)
    r = torch.rand(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([[0, 1]] * 5 + [[2, 3]] * 3)
    share = (r / r.sum(1, keepdim=True)).mean(0)
    fraction = torch.tensor([5, 5, 3, 3]) / 16
    assert auxiliary_loss(r, chosen, 0.5).item() == pytest.approx(0.5 * 4 * (fraction * share).sum().item())
    moe = layer(4, 2, alpha=0.1)
    moe(batch())
    moe.aux_loss.backward()
    assert moe.router.grad.abs().sum() > 0
    assert moe.w1.grad is None
    moe.eval()
    moe.aux_loss = torch.zeros(())
    moe(batch())
    assert moe.aux_loss == 0


def test_state_is_saved_and_goes_on_alike():
    a, x = layer(4, 2, balancer=LoadBalancer(4, 2, InvStep(0.3))), batch()
    for _ in range(3):
        a(x)
        a.balancer.update()
    a(x[:7])
    stored = io.BytesIO()
    torch.save(a.state_dict(), stored)
    stored.seek(0)
    b = layer(4, 2, seed=9, balancer=LoadBalancer(4, 2, InvStep(0.3)))
    b.load_state_dict(torch.load(stored, weights_only=True))
    twins = [a, b, copy.deepcopy(a), pickle.loads(pickle.dumps(a))]
    for twin in twins:
        twin(x[7:])
        twin.balancer.update()
        torch.testing.assert_close(twin.balancer.bias, a.balancer.bias, rtol=0, atol=0)
        assert int(twin.balancer.n) == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_prices(dtype):
    moe = layer(4, 2, balancer=LoadBalancer(4, 2), alpha=0.1)
    moe.balancer.bias += 1.0005
    moe.to(dtype)
    assert moe.balancer.bias.dtype == torch.float64
    assert moe.balancer.bias[0].item() == 1.0005
    y = moe(batch(dtype=torch.float32).to(dtype))
    assert y.dtype == dtype
    assert moe.aux_loss.dtype == torch.float32


def test_ties_go_to_the_lower_index():
    assert LoadBalancer(4, 2).select(torch.full((3, 4), 0.5)).tolist() == [[0, 1]] * 3
    assert layer(4, 2)._select(torch.full((1, 4), 0.5)).tolist() == [[0, 1]]


def test_defaults_are_the_papers():
    balancer = LoadBalancer(4, 2)
    assert balancer.step == SignStep(0.001)
    assert balancer.bias.tolist() == [0, 0, 0, 0]


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="balancer must be a LoadBalancer of 4 experts"):
        SparseMoE(8, 4, 2, 12, balancer=LoadBalancer(5, 2))
    with pytest.raises(ValueError, match="k must be"):
        SparseMoE(8, 4, 5, 12)
    with pytest.raises(ValueError, match="dispatch must be"):
        SparseMoE(8, 4, 2, 12, dispatch="loop")
    with pytest.raises(TypeError, match="step must be"):
        LoadBalancer(4, 2, 0.001)
    with pytest.raises(ValueError, match="scores must have 4 columns"):
        LoadBalancer(4, 2).select(torch.rand(3, 5))
    with pytest.raises(ValueError, match="load must have shape"):
        LoadBalancer(4, 2).update([1, 2])
    with pytest.raises(ValueError, match="scores must not be negative"):
        auxiliary_loss(-torch.rand(3, 4), torch.zeros(3, 1, dtype=torch.int64), 0.1)
    with pytest.raises(ValueError, match="chosen must name"):
        auxiliary_loss(torch.rand(3, 4), torch.full((3, 1), 4), 0.1)
    with pytest.raises(ValueError, match="chosen must hold"):
        auxiliary_loss(torch.rand(3, 4), torch.rand(3, 1), 0.1)


@pytest.mark.parametrize("dispatch", ["sorted", "dense"])
def test_autocast_trains_and_keeps_the_outer_type(dispatch):
    moe = layer(4, 2, dtype=torch.float32, dispatch=dispatch, balancer=LoadBalancer(4, 2), alpha=0.1)
    x = batch(dtype=torch.float32)
    exact = moe(x).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = moe(x)
    assert y.dtype == torch.float32
    assert (y - exact).abs().max() < 0.3 * exact.abs().max()  # a token at a tie may change its expert
    (y.square().mean() + moe.aux_loss).backward()
    assert torch.isfinite(moe.router.grad).all()
    assert moe.w1.grad.abs().sum() > 0


def test_scores_that_all_vanish_leave_the_shared_expert():
    for dtype, far in ((torch.float32, -1e4), (torch.float16, -100.0)):
        moe = layer(3, 1, dtype=dtype)
        with torch.no_grad():
            moe.router.fill_(1.0)
        h = torch.full((2, 8), far, dtype=dtype)
        torch.testing.assert_close(moe(h), moe.shared(h))


def test_loads_counted_twice_change_no_price():
    """Activation checkpointing runs a pass again, and its loads are recorded again."""
    for rule in (SignStep(0.01), SqrtStep(0.1), InvStep(0.5)):
        once, twice = (layer(4, 2, balancer=LoadBalancer(4, 2, rule)) for _ in range(2))
        for moe in (once, twice):
            x = batch().requires_grad_()
            y = moe(x) if moe is once else torch.utils.checkpoint.checkpoint(moe, x, use_reentrant=False)
            y.sum().backward()
        assert twice.balancer.pending.tolist() == (2 * once.balancer.pending).tolist()
        once.balancer.update()
        twice.balancer.update()
        torch.testing.assert_close(once.balancer.bias, twice.balancer.bias, rtol=0, atol=1e-15)


def test_recorded_loads_and_widths_are_checked():
    balancer = LoadBalancer(4, 2)
    for load in (torch.tensor([3]), torch.tensor([1, -1, 0, 0]), torch.tensor([1.0, 0, 0, 0]), [1, 0, 0, 0]):
        with pytest.raises(ValueError, match="load must hold 4 counts"):
            balancer.record(load)
    assert balancer.pending.tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="h must have shape"):
        layer(4, 2)(torch.zeros(3, 7, dtype=torch.float64))
