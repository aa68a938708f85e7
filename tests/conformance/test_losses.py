"""What every torch loss of the package must hold. To enroll a new one, add a line to LOSSES."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from lib.objectives.anyloss import AnyLoss, SOLLoss
from lib.objectives.mogfn import TrajectoryBalanceLoss


def binary_batch(n=40, dtype=torch.float64):
    """Probabilities and 0/1 targets with both classes."""
    generator = torch.Generator().manual_seed(0)
    probs = 0.3 + 0.4 * torch.rand(n, generator=generator, dtype=dtype)
    return probs, (torch.arange(n) % 4 == 0).to(dtype)


def jaccard_index(tp, fp, fn, tn):
    """A user's own score, at module level so that it can be pickled."""
    return tp / (tp + fp + fn)


#: Name -> (the loss, a function that makes its inputs).
LOSSES = {
    **{f"AnyLoss {score}": (AnyLoss(score), binary_batch) for score in ("accuracy", "f1", "gmean", "balanced_accuracy")},
    "AnyLoss F2": (AnyLoss("fbeta", beta=2.0), binary_batch),
    "AnyLoss callable": (AnyLoss(jaccard_index), binary_batch),
    "SOLLoss f1": (SOLLoss("f1"), binary_batch),
    "TrajectoryBalanceLoss": (TrajectoryBalanceLoss(), binary_batch),
}


@pytest.fixture(params=LOSSES, ids=str)
def case(request):
    loss, batch = LOSSES[request.param]
    return copy.deepcopy(loss), batch


def test_is_a_scalar_with_a_gradient(case):
    loss, batch = case
    probs, target = batch()
    value = loss(probs.requires_grad_(), target)
    assert value.shape == ()
    (gradient,) = torch.autograd.grad(value, probs)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_gradient_is_that_of_finite_differences(case):
    loss, batch = case
    probs, target = batch(12)
    assert torch.autograd.gradcheck(lambda p: loss(p, target), probs.requires_grad_(), eps=1e-7, atol=1e-5, rtol=1e-4)


def test_order_of_the_samples_does_not_matter(case):
    loss, batch = case
    probs, target = batch()
    order = torch.randperm(len(probs), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(probs[order], target[order]), loss(probs, target), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_input(case, dtype):
    loss, batch = case
    assert loss(*batch(dtype=dtype)).dtype == dtype


def test_one_descent_step_lowers_it(case):
    loss, batch = case
    probs, target = batch()
    probs.requires_grad_()
    before = loss(probs, target)
    (gradient,) = torch.autograd.grad(before, probs)
    step = 1e-4 / gradient.abs().max()
    assert loss((probs - step * gradient).detach(), target) < before


def test_is_a_module_that_says_what_it_is(case):
    loss, batch = case
    assert isinstance(loss, torch.nn.Module)
    assert type(loss).__name__ in repr(loss)
    again = copy.deepcopy(loss)
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(again(*batch()), loss(*batch()))


def test_shapes_that_would_broadcast_are_refused(case):
    loss, batch = case
    probs, target = batch()
    with pytest.raises(ValueError, match="shape"):
        loss(probs, target[:, None])


def test_survives_pickling_and_torch_save(case):
    loss, batch = case
    torch.testing.assert_close(pickle.loads(pickle.dumps(loss))(*batch()), loss(*batch()))
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    torch.testing.assert_close(torch.load(file, weights_only=False)(*batch()), loss(*batch()))


def test_half_precision_accumulates_in_more(case):
    loss, batch = case
    probs, target = batch(4000, dtype=torch.float32)
    value = loss(probs.half(), target.half())
    assert torch.isfinite(value)
    torch.testing.assert_close(value.float(), loss(probs.half().float(), target), rtol=5e-3, atol=5e-3)
