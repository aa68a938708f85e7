"""Advantages by hand, generalized advantages by a double loop, policy gradients by autograd and finite differences."""

import pytest
import torch

from lib.networks import advantages, clipped_surrogate, gae, generate, kl_k3, response_log_probs
from lib.networks.transformer import Transformer


@pytest.fixture
def gen():
    return torch.Generator().manual_seed(0)


def draw(gen, *shape):
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def test_advantages_by_hand():
    rewards = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    third = 1 / 3
    deviation = third**0.5  # of 1, 0, 0, with Bessel's correction
    found = advantages(rewards, 3, "grpo")
    expected = torch.tensor([2 * third, -third, -third, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(found, expected / (deviation + 1e-6), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(advantages(rewards, 3, "dr_grpo"), expected)
    torch.testing.assert_close(advantages(rewards, 3, "rloo"), 1.5 * expected)
    lengths = [1, 1, 2, 4, 1, 1]  # mean reward of a token 0.7
    found = advantages(rewards, 3, "reinforce_pp", lengths=lengths)
    expected = (torch.tensor(rewards, dtype=torch.float64) - 0.7) / (0.21**0.5 + 1e-6)
    torch.testing.assert_close(found, expected)


def test_columns_are_treated_apart(gen):
    rewards = draw(gen, 8, 3)
    for kind in ("grpo", "dr_grpo", "rloo", "reinforce_pp"):
        found = advantages(rewards, 4, kind)
        for k in range(3):
            torch.testing.assert_close(found[:, k], advantages(rewards[:, k], 4, kind))


def test_a_scale_of_rewards_cancels_where_a_deviation_divides(gen):
    rewards = draw(gen, 12)
    for c in (0.5, 2.0):
        for kind in ("grpo", "reinforce_pp"):
            torch.testing.assert_close(advantages(c * rewards, 4, kind), advantages(rewards, 4, kind), rtol=1e-5, atol=1e-6)
            assert advantages(c * rewards, 4, kind, eps=0).equal(advantages(rewards, 4, kind, eps=0))
        for kind in ("dr_grpo", "rloo"):
            assert advantages(c * rewards, 4, kind).equal(c * advantages(rewards, 4, kind))


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "rloo", "reinforce_pp"])
@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_equal_rewards_have_no_advantage(kind, eps):
    assert not advantages([0.1] * 6, 3, kind, eps).any()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"group": 1}, "group"), ({"group": 4}, "group"), ({"kind": "ppo"}, "kind"),
        ({"rewards": [float("nan")] * 6}, "rewards"), ({"eps": -1.0}, "eps"),
        ({"kind": "reinforce_pp", "lengths": [1.0]}, "lengths"),
    ],
)  # fmt: skip
def test_bad_rewards_are_named(change, word):
    with pytest.raises(ValueError, match=word):
        advantages(**({"rewards": [1.0, 2, 3, 4, 5, 6], "group": 3} | change))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.5), (0.99, 0.95), (0.0, 1.0)])
def test_gae_is_the_double_sum(gen, gamma, lam):
    rewards, values = draw(gen, 3, 5), draw(gen, 3, 5)
    lengths = [5, 3, 1]
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    found = gae(rewards, values, mask, gamma, lam)
    for b, n in enumerate(lengths):
        for t in range(n):
            total = 0.0
            for s in range(t, n):
                ahead = values[b, s + 1] if s + 1 < n else 0.0
                total += (gamma * lam) ** (s - t) * (rewards[b, s] + gamma * ahead - values[b, s])
            torch.testing.assert_close(found[b, t], torch.as_tensor(total))
    assert not found[~mask].any()


def test_gae_is_linear_and_takes_several_rewards(gen):
    rewards, values = draw(gen, 4, 6, 3), draw(gen, 4, 6, 3)
    mask = torch.arange(6) < torch.tensor([6, 2, 4, 1])[:, None]
    apart = gae(rewards, values, mask, 0.97, 0.9)
    for k in range(3):
        torch.testing.assert_close(apart[..., k], gae(rewards[..., k], values[..., k], mask, 0.97, 0.9))
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    torch.testing.assert_close(gae(rewards @ weights, values @ weights, mask, 0.97, 0.9), apart @ weights)
    torch.testing.assert_close(
        gae(rewards[..., 0], 0 * values[..., 0], mask, 1.0, 1.0)[0], rewards[0, :, 0].flip(0).cumsum(0).flip(0)
    )


def test_what_stands_in_padding_plays_no_part(gen):
    rewards, values = draw(gen, 1, 4), draw(gen, 1, 4)
    mask = torch.tensor([[True, True, False, False]])
    other = torch.where(mask, rewards, 7.0), torch.where(mask, values, 7.0)
    assert gae(*other, mask).equal(gae(rewards, values, mask))


def policy():
    model = Transformer(vocab_size=6, context=8, width=8, n_layers=1, n_heads=2, seed=1).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(10.0)
    return model


def test_the_clipped_gradient_at_ratio_one_is_the_policy_gradient():
    model = policy()
    drawn = generate(model, [[1], [2, 3]] * 4, 4, end=5, pad=0, seed=0)
    gain = draw(torch.Generator().manual_seed(3), 8)
    logs, _ = response_log_probs(model, drawn)
    clipped_surrogate(logs, drawn.log_probs, gain, drawn.mask).backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    logs, _ = response_log_probs(model, drawn)
    (-(logs * gain[:, None]).sum() / drawn.mask.sum()).backward()
    for grad, expected in zip(found, [p.grad for p in model.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-12)


def test_gradients_of_sampled_log_probabilities_are_finite_differences():
    model = policy()
    drawn = generate(model, [[1], [2, 3]], 4, end=5, pad=0, seed=0)
    weight, place = model.blocks[0].qkv.weight, (3, 2)
    total = response_log_probs(model, drawn)[0].sum()
    (grad,) = torch.autograd.grad(total, weight)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[place] += sign * 1e-6
            ends.append(float(response_log_probs(model, drawn)[0].sum()))
            weight[place] -= sign * 1e-6
    assert float(grad[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_ratios_are_clipped_where_that_lowers_the_objective():
    old, mask = torch.zeros(4, 1), torch.ones(4, 1, dtype=torch.bool)
    logs = torch.tensor([[1.5], [1.5], [0.5], [0.5]]).log()
    gain = torch.tensor([1.0, -1.0, 1.0, -1.0])
    expected = -torch.tensor([1.2, -1.5, 0.5, -0.8]).mean()
    torch.testing.assert_close(clipped_surrogate(logs, old, gain, mask), expected)
    free = clipped_surrogate(logs, old, gain, mask, low=float("inf"))
    torch.testing.assert_close(free, -(logs.exp()[:, 0] * gain).mean())


def test_k3_is_never_negative_and_unbiased(gen):
    scores, reference = draw(gen, 7), draw(gen, 7)
    logs, other = scores.log_softmax(0), reference.log_softmax(0)
    each = kl_k3(logs, other)
    assert (each >= 0).all()
    torch.testing.assert_close((logs.exp() * each).sum(), (logs.exp() * (logs - other)).sum())
    assert not kl_k3(logs, logs).any()


@pytest.mark.parametrize("shape", [(1,), (1, 3), (), (2, 1)])
def test_advantages_of_another_shape_are_not_stretched(shape):
    logs, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="advantage"):
        clipped_surrogate(logs, logs, torch.ones(shape), mask)
    with pytest.raises(ValueError, match="reference"):
        kl_k3(logs, torch.zeros(1, 3))


def test_steps_after_padding_are_refused():
    with pytest.raises(ValueError, match="mask"):
        gae(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([[True, False, True]]))
