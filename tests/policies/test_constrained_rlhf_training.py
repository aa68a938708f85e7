"""Constrained PPO: what is paid where, advantages, gradients, multipliers in the loop, resuming, language models, the door."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import types

import numpy as np
import pytest
import torch

from lib.networks import Cache, Transformer, gae, generate, response_log_probs
from lib.policies import constrained_rlhf as cr
from lib.policies.constrained_rlhf.language_models import LanguageModel

END, PAD, NEW = 9, 0, 6
PROMPTS = [[1, 2], [3], [4, 5, 6]]


def even(prompts, responses, references):
    return [np.mean([token % 2 == 0 for token in response] or [0.0]) for response in responses]


def short(prompts, responses, references):
    return 1 - np.array([len(response) for response in responses]) / NEW


def same(prompts, responses, references):
    return [float(response[:1] == reference[:1]) for response, reference in zip(responses, references, strict=True)]


def base(dtype=torch.float64, seed=0, scale=20):
    policy = Transformer(vocab_size=10, context=12, width=16, n_layers=1, n_heads=2, seed=seed).to(dtype)
    with torch.no_grad():  # far from uniform, so that responses differ in probability
        policy.tokens.weight.mul_(scale)
    return policy


def run(variant="xi", thresholds=(0.5, 0.4), models=(even, short), seed=0, policy=None, alphas=None, **changes):
    own = {"episodes": 16, "minibatch": 8, "epochs": 2, "lr": 3e-3, "max_new": NEW, "min_new": 1, "top_k": None}
    config = cr.PPOConfig(**(own | changes))
    given = None if variant == "ppo" else thresholds
    policy = base() if policy is None else policy
    return cr.ConstrainedPPO(policy, models, given, variant, config, alphas=alphas, end=END, pad=PAD, seed=seed)


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def gradient(trainer, batch, rows=slice(None), losses=slice(0, 1)):
    loss = sum(trainer.losses(batch, rows)[losses])
    found = torch.autograd.grad(loss, trainer.parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(found, trainer.parameters, strict=True)]
    )


# --------------------------------------------------------------------------------------------------------- what is paid


def test_rewards_are_paid_with_the_last_token_and_the_divergence_with_every_one():
    trainer = run(beta=0.3)
    trainer.step(PROMPTS)
    batch = trainer.collect(PROMPTS * 5)
    mask, lengths = batch.rollouts.mask, batch.rollouts.lengths
    assert lengths.min() < NEW  # some end by themselves
    assert (lengths == NEW).any()  # some at the limit
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(batch.rewards[b, n - 1, 1:], batch.scores[b])
        assert (batch.rewards[b, : n - 1, 1:] == 0).all()
        assert (batch.rewards[b, n:] == 0).all()
    policy = response_log_probs(trainer.policy, batch.rollouts)[0]
    reference = response_log_probs(trainer.reference, batch.rollouts)[0]
    torch.testing.assert_close(batch.rewards[..., 0], (-0.3 * (policy - reference) * mask).detach())
    assert float(batch.rewards[..., 0].abs().max()) > 0
    again = cr.ConstrainedPPO(base(), [even], [0.5], end=END, pad=PAD, config=trainer.config)
    assert float(again.collect(PROMPTS).rewards[..., 0].abs().max()) < 1e-12  # the base policy is at its reference


def test_what_reward_models_get():
    seen = {}

    def spy(prompts, responses, references):
        seen.update(prompts=prompts, responses=responses, references=references)
        return np.zeros(len(prompts))

    trainer = run(models=(spy,), thresholds=[0.5])
    trainer.step(PROMPTS, [[prompt[0], 8] for prompt in PROMPTS])
    assert len(seen["prompts"]) == 16
    assert all(reference == [prompt[0], 8] for prompt, reference in zip(seen["prompts"], seen["references"], strict=True))
    rows = zip(seen["responses"], trainer.batch.rollouts.responses.tolist(), trainer.batch.rollouts.lengths, strict=True)
    for response, row, n in rows:
        assert END not in response
        assert response == (row[: n - 1] if row[n - 1] == END else row[:n])
    trainer.step(PROMPTS)
    assert seen["references"] is None


def test_the_saturated_reward_is_zero_exactly_at_the_thresholds():
    trainer = run("ppo_sat")
    paid = trainer.paid(np.array([[0.5, 0.4], [0.7, 0.4], [0.3, 0.1]]))
    np.testing.assert_allclose(paid, [[0, 0], [-0.04, 0], [-0.04, -0.09]], atol=1e-15)
    assert (paid[0] == 0).all()
    assert run("xi").paid(np.array([[0.7, 0.2]])).tolist() == [[0.7, 0.2]]


# ----------------------------------------------------------------------------------------------------------- advantages


def test_advantages_are_rewards_to_go_in_the_limit_and_linear_in_the_rewards():
    rng = np.random.default_rng(0)
    rewards, values = (torch.from_numpy(rng.standard_normal((3, 5, 2))) for _ in range(2))
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    to_go = (rewards * mask[..., None]).flip(1).cumsum(1).flip(1) * mask[..., None]
    torch.testing.assert_close(gae(rewards, torch.zeros_like(rewards), mask, 1.0, 1.0), to_go)
    loop = torch.zeros_like(rewards)
    for b in range(3):
        n = int(mask[b].sum())
        for t in range(n):
            for l in range(t, n):  # noqa: E741 - the paper's letter
                ahead = values[b, l + 1] if l + 1 < n else 0.0
                loop[b, t] += (0.99 * 0.95) ** (l - t) * (rewards[b, l] + 0.99 * ahead - values[b, l])
    torch.testing.assert_close(gae(rewards, values, mask, 0.99, 0.95), loop)
    weights = torch.tensor([0.3, -1.2], dtype=torch.float64)
    mixed = gae(rewards @ weights, values @ weights, mask, 0.99, 0.95)
    torch.testing.assert_close(gae(rewards, values, mask, 0.99, 0.95) @ weights, mixed, rtol=0, atol=1e-6)


def test_targets_and_advantages_belong_together():
    trainer = run(gamma=0.9, lam=0.8)
    trainer.fit(PROMPTS, iterations=2)
    batch = trainer.collect(PROMPTS)
    values = trainer.policy.values(response_log_probs(trainer.policy, batch.rollouts)[1]).detach()
    torch.testing.assert_close(batch.advantages, gae(batch.rewards, values, batch.rollouts.mask, 0.9, 0.8))
    torch.testing.assert_close((batch.targets - values)[batch.rollouts.mask], batch.advantages[batch.rollouts.mask])


def test_columns_are_normalized_over_the_tokens_that_count():
    rng = np.random.default_rng(0)
    raw = torch.from_numpy(rng.standard_normal((4, 5, 3)) * [0.001, 5.0, 1.0] + 2)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [2]])
    plain = cr.normalized(raw, mask)
    np.testing.assert_allclose(plain[mask].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(plain[mask].std(0), 1, rtol=1e-4)
    assert (plain[~mask] == 0).all()
    floored = cr.normalized(raw, mask, floor=0.05)
    torch.testing.assert_close(floored[..., 1:], plain[..., 1:])
    torch.testing.assert_close(floored[..., 0][mask], (raw[..., 0][mask] - raw[..., 0][mask].mean()) / (0.05 + 1e-8))
    assert (cr.normalized(torch.ones(1, 1, 2), torch.ones(1, 1, dtype=torch.bool)) == 0).all()


def test_advantages_are_normalized_then_mixed_but_for_plain_ppo():
    rng = np.random.default_rng(0)
    raw = torch.from_numpy(rng.standard_normal((4, 5, 3)) * [0.5, 5.0, 1.0])
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [2]])
    constrained = run("mu")
    lam = constrained.multipliers.weights()
    columns = cr.normalized(raw, mask, 0.05)
    by_hand = (2 - lam.sum()) * columns[..., 0] + columns[..., 1:] @ lam
    torch.testing.assert_close(constrained.advantage(raw, mask), by_hand)
    summed = raw @ torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    for variant in ("ppo", "ppo_sat"):
        plain = run(variant, alphas=[2.0, 0.5])
        torch.testing.assert_close(plain.advantage(raw, mask), cr.normalized(summed[..., None], mask)[..., 0])
    literal = run("ppo", alphas=[2.0, 0.5], normalize="column", kl_std_floor=None)
    wanted = cr.normalized(raw, mask) @ torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(literal.advantage(raw, mask), wanted)
    summing = run("mu", normalize="sum")
    mixed = summing.multipliers.mix(raw[..., 0], raw[..., 1:])
    torch.testing.assert_close(summing.advantage(raw, mask), cr.normalized(mixed[..., None], mask)[..., 0])


# ------------------------------------------------------------------------------------------------------------ gradients


def test_the_gradient_at_ratio_one_is_the_policy_gradient():
    trainer = run()
    trainer.fit(PROMPTS, iterations=2)
    batch = trainer.collect(PROMPTS * 4)
    mask = batch.rollouts.mask
    gain = trainer.advantage(batch.advantages, mask)
    logs, _ = response_log_probs(trainer.policy, batch.rollouts)
    vanilla = torch.autograd.grad(-(gain * logs).sum() / mask.sum(), trainer.parameters, allow_unused=True)
    vanilla = torch.cat([
        torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(vanilla, trainer.parameters, strict=True)
    ])  # fmt: skip
    assert float(vanilla.norm()) > 1e-3
    torch.testing.assert_close(gradient(trainer, batch), vanilla, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", ["mu", "xi", "all"])
def test_the_coefficient_of_the_divergence_cancels_with_literal_normalization(variant):
    """Ten times beta: the constrained variants' policy gradient stays, with the floor or with summed rewards it moves."""

    def gradients(**changes):
        found = []
        for beta in (0.2, 2.0):
            trainer = run(variant, policy=base(seed=1), beta=beta, **changes)
            trainer.multipliers.mu.data.fill_(0.3)
            with torch.no_grad():  # somewhere else than at the base policy
                generator = torch.Generator().manual_seed(0)
                for p in trainer.policy.blocks.parameters():
                    p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
            batch = trainer.collect(PROMPTS * 6)
            assert float(batch.log_ratio.abs().max()) > 0.05
            found.append((gradient(trainer, batch), gradient(trainer, batch, losses=slice(1, 2))))
        return found

    (first, value), (second, larger) = gradients(kl_std_floor=None)
    assert float(first.norm()) > 1e-2
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert float((value - larger).norm()) > 1e-3  # only the divergence's value loss
    for changes in ({"kl_std_floor": 5.0}, {"normalize": "sum"}):
        (first, _), (second, _) = gradients(**changes)
        assert float((first - second).norm()) > 1e-2 * float(first.norm())


def test_literal_normalization_blows_rounding_up_near_the_base_policy():
    """Where the policy is the base policy there is no divergence: its column is rounding, which division brings to size 1."""
    columns = {}
    for floor in (None, 0.05):
        trainer = run("xi", policy=base(torch.float32, seed=1), kl_std_floor=floor)
        with torch.no_grad():
            trainer.policy.tokens.weight.mul_(1 + 1e-6)
        batch = trainer.collect(PROMPTS * 6)
        mask = batch.rollouts.mask
        assert 0 < batch.log_ratio.abs().max() < 1e-4
        columns[floor] = trainer.advantage(batch.advantages * torch.tensor([1.0, 0.0, 0.0]), mask)[mask].std()
    assert columns[0.05] < 1e-3
    assert columns[None] > 0.5


def test_value_losses_have_their_weights():
    trainer = run(value_coef=0.5, kl_value_coef=0.2)
    trainer.step(PROMPTS)
    batch = trainer.collect(PROMPTS * 4)
    values = trainer.policy.values(response_log_probs(trainer.policy, batch.rollouts)[1])
    squares = (values - batch.targets)[batch.rollouts.mask].square().mean(0)
    by_hand = 0.2 * squares[0] + 0.5 * squares[1] + 0.5 * squares[2]
    torch.testing.assert_close(trainer.losses(batch)[1], by_hand)


# --------------------------------------------------------------------------------------------------------------- the loop


@pytest.mark.parametrize("variant", cr.VARIANTS)
def test_every_variant_runs_and_leaves_a_history(variant):
    trainer = run(variant)
    history = trainer.fit(PROMPTS, iterations=3)
    assert history.array("values").shape == history.array("weights").shape == history.array("thresholds").shape == (3, 2)
    assert history.array("coefficients").shape == (3, 3)
    assert history.array("kl").shape == history.array("length").shape == (3,)
    assert history.episodes == 48
    assert ((history.array("clipped") >= 0) & (history.array("clipped") <= 1)).all()
    np.testing.assert_allclose(history.values[-1], trainer.batch.scores.mean(0))
    np.testing.assert_allclose(history.length[-1], trainer.batch.rollouts.lengths.double().mean())
    np.testing.assert_allclose(history.kl[-1], trainer.batch.log_ratio.sum(1).mean())
    if variant == "ppo":
        assert history.coefficients[-1].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="name"):
        history.array("reward")


def test_the_base_policy_is_left_alone():
    policy = base()
    before = flat(policy).clone()
    trainer = run(policy=policy)
    trainer.fit(PROMPTS, iterations=2)
    assert policy.value_heads is None
    assert flat(policy).equal(before)
    assert flat(trainer.reference).equal(before)
    assert not torch.allclose(flat(trainer.policy)[: len(before)], before)
    assert trainer.policy.value_heads.out_features == 3
    assert trainer.policy.value_heads.weight.abs().sum() > 0


def test_value_heads_that_fit_are_kept():
    policy = Transformer(vocab_size=10, context=12, width=16, n_heads=2, n_values=3)
    with torch.no_grad():
        policy.value_heads.weight.fill_(0.5)
    assert (run(policy=policy).policy.value_heads.weight == 0.5).all()
    assert (cr.with_value_heads(policy, 4).value_heads.weight == 0).all()


def test_multipliers_move_once_an_update_by_the_means_of_its_episodes():
    trainer = run("xi", thresholds=[0.9, -0.5], epochs=1, minibatch=16)
    twin = copy.deepcopy(trainer.multipliers)
    trainer.step(PROMPTS)
    twin.update(trainer.batch.scores.mean(0))
    torch.testing.assert_close(twin.mu.data, trainer.multipliers.mu.data)
    moved = run("xi", thresholds=[0.9, -0.5], epochs=3, minibatch=4, multiplier_momentum=0.0, multiplier_max_grad=np.inf)
    start = moved.multipliers.mu.data.clone()
    moved.step(PROMPTS)
    # tanh'(mu) is nearly 1 near 0: twelve updates move by the sum of twelve violations.
    change = 0.1 * 3 * 4 * (np.array([0.9, -0.5]) - moved.batch.scores.mean(0))
    np.testing.assert_allclose(moved.multipliers.mu.data - start, change, rtol=0.4)


def test_a_run_goes_on_alike_after_a_copy_or_a_pickle():
    whole = run(kl_target=0.05)
    whole.fit(PROMPTS, iterations=4)
    first = run(kl_target=0.05)
    first.fit(PROMPTS, iterations=2)
    copied, stored = copy.deepcopy(first), pickle.loads(pickle.dumps(first))
    for again in (first, copied, stored):
        again.fit(PROMPTS, iterations=2)
        for name in ("values", "weights", "kl", "beta", "length"):
            np.testing.assert_array_equal(again.history.array(name), whole.history.array(name))
        assert flat(again.policy).equal(flat(whole.policy))


def test_to_look_does_not_change_what_follows():
    plain, watched = run(), run()
    plain.fit(PROMPTS, iterations=2)
    told = []

    def look(trainer):
        told.append(trainer.respond(PROMPTS, seed=3))

    watched.fit(PROMPTS, iterations=2, callback=look)
    assert flat(plain.policy).equal(flat(watched.policy))
    assert len(told) == 2
    assert all(END not in response and len(response) <= NEW for response in told[0])
    assert watched.respond(PROMPTS, seed=3) == told[1]


def test_a_callback_ends_the_run():
    def stop(trainer):
        raise StopIteration

    assert len(run().fit(PROMPTS, iterations=9, callback=lambda trainer: len(trainer.history.kl) == 2).kl) == 2
    assert len(run().fit(PROMPTS, iterations=9, callback=stop).kl) == 1


def test_a_reward_is_learned():
    trainer = run("ppo", models=(even,), episodes=64, minibatch=32, lr=1e-2, beta=0.01)
    values = trainer.fit(PROMPTS, iterations=12).array("values")[:, 0]
    assert values[-3:].mean() > values[0] + 0.2


def test_references_reach_the_reward():
    trainer = run("ppo", models=(same,), policy=base(scale=5), episodes=64, minibatch=32, lr=1e-2, beta=0.01)
    values = trainer.fit(PROMPTS, [[7, 8], [7], [7, 1]], iterations=15).array("values")[:, 0]
    assert values[-3:].mean() > values[0] + 0.2


def test_thresholds_at_the_base_policys_values_keep_the_policy_there():
    policy = base()
    thresholds = run("mu", policy=policy).collect(PROMPTS * 700).scores.mean(0)
    settings = {"episodes": 64, "minibatch": 32, "lr": 3e-4}
    still = run("xi", thresholds, policy=policy, **settings).fit(PROMPTS, iterations=12)
    pulled = run("xi", thresholds + 0.4, policy=policy, **settings, multiplier_lr=1.0).fit(PROMPTS, iterations=12)
    assert abs(still.kl[-1]) < 0.05 < pulled.kl[-1]
    assert np.abs(still.array("values").mean(0) - thresholds).max() < 0.04


def test_an_equality_is_approached_from_both_sides():
    policy = base()
    start = run("mu", policy=policy).collect(PROMPTS * 200).scores.mean(0)[:1]
    for shift in (0.2, -0.2):
        trainer = run("xi", start + shift, models=(even,), policy=policy, episodes=64, minibatch=32, lr=1e-2, multiplier_lr=1.0)
        history = trainer.fit(PROMPTS, iterations=20)
        moved = history.array("values")[4:, 0].mean() - start
        assert moved * np.sign(shift) > 0.04
        assert history.array("weights")[4, 0] * shift > 0


def test_approach_goes_on_until_the_rewards_are_near():
    trainer = run("xi", models=(even,), thresholds=[0.9])
    now = trainer.fit(PROMPTS, iterations=1).values[-1]
    trainer.approach(now, PROMPTS, iterations=5, within=9.0)
    assert len(trainer.history.kl) == 2  # near enough at once
    found = trainer.approach([0.95], PROMPTS, iterations=3, within=0.0)
    assert len(trainer.history.kl) == 5
    np.testing.assert_allclose(found, trainer.history.values[-1])
    assert trainer.multipliers.thresholds.tolist() == [0.95]
    assert trainer.history.thresholds[-1].tolist() == [0.95]
    saturated = run("ppo_sat")
    saturated.approach([0.1, 0.2], PROMPTS, iterations=1)
    assert saturated.thresholds.tolist() == [0.1, 0.2]
    with pytest.raises(ValueError, match="ppo"):
        run("ppo").approach([0.1, 0.2], PROMPTS)


def test_the_coefficient_adapts_to_a_wanted_divergence():
    far, near = run(kl_target=1e3), run(kl_target=1e-9)
    far.fit(PROMPTS, iterations=4)
    near.fit(PROMPTS, iterations=4)
    np.testing.assert_allclose(far.history.beta, 0.2 * 0.98 ** np.arange(4))
    assert near.history.beta[-1] > 0.2
    assert run().fit(PROMPTS, iterations=2).beta == [0.2, 0.2]


def test_half_a_batch_of_settings_is_refused():
    for changes, match in (
        ({"minibatch": 5}, "minibatch"), ({"beta": -1.0}, "beta"), ({"normalize": "row"}, "normalize"), ({"top_k": 0}, "top_k"),
        ({"min_new": 9}, "min_new"), ({"kl_std_floor": -0.1}, "kl_std_floor"), ({"clip": 0.0}, "clip"),
        ({"multiplier_momentum": 1.0}, "multiplier_momentum"), ({"kl_target": 0.0}, "kl_target"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            run(**changes)


def test_bad_input_is_refused():
    for make, match in (
        (lambda: run(thresholds=[0.1]), "thresholds"), (lambda: run(thresholds=None), "thresholds"),
        (lambda: run("best"), "variant"), (lambda: run("ppo", alphas=[1.0]), "alphas"),
        (lambda: run("xi", alphas=[1.0, 1.0]), "alphas"), (lambda: run("all", alphas=[1.0, 1.0]), "alphas"),
        (lambda: run("ppo_sat", alphas=[1.0]), "alphas"), (lambda: run(models=()), "reward_models"),
        (lambda: cr.ConstrainedPPO(base(), [even], [0.5], end=0, pad=0), "pad"),
        (lambda: run().fit([]), "prompts"), (lambda: run().fit(PROMPTS, [[1]]), "references"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            make()
    with pytest.raises(TypeError, match="policy"):
        cr.ConstrainedPPO("gpt2", [even], [0.5], end=END, pad=PAD)
    for models in (3, [3], "even"):
        with pytest.raises(TypeError, match="reward_models"):
            run(models=models)
    with pytest.raises(TypeError, match="prompts"):
        run().fit("a b c")
    assert run(models=even, thresholds=[0.5]).reward_models == [even]


@pytest.mark.parametrize("answer", [lambda n: [np.nan] * n, lambda n: [0.1] * (n - 1), lambda n: [[0.1]] * n])
def test_rewards_that_are_none_are_refused(answer):
    trainer = run(models=(even, lambda prompts, responses, references: answer(len(prompts))))
    with pytest.raises(ValueError, match="reward model 1"):
        trainer.step(PROMPTS)
    with pytest.raises(TypeError, match="reward model 0"):
        run(models=(lambda *texts: "good",), thresholds=[0.5]).step(PROMPTS)


# --------------------------------------------------------------------------------------------------------- language models


class Stub(torch.nn.Module):
    """A model that answers as those of transformers do, made of the small transformer."""

    base_model = property(lambda self: self)

    def __init__(self):
        super().__init__()
        self.inner = base(seed=2)
        self.config = types.SimpleNamespace(vocab_size=10, hidden_size=16)

    def get_input_embeddings(self):
        return self.inner.tokens

    def get_output_embeddings(self):
        return lambda states: states @ self.inner.tokens.weight.T

    def forward(self, input_ids, attention_mask, position_ids, use_cache, past_key_values=None):
        assert position_ids.shape == input_ids.shape
        places = (attention_mask.cumsum(1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        assert position_ids.equal(places)
        cache = past_key_values or (Cache() if use_cache else None)
        attended = attention_mask.bool()[:, -input_ids.shape[1] :]
        states = self.inner.states(input_ids, attended, cache)
        return types.SimpleNamespace(last_hidden_state=states, past_key_values=cache)


def test_a_language_model_is_sampled_and_judged_like_the_small_transformer():
    model, small = LanguageModel(Stub()), base(seed=2)
    drawn, wanted = (generate(m, PROMPTS, NEW, end=END, pad=PAD, seed=0) for m in (model, small))
    assert drawn.tokens.equal(wanted.tokens)
    torch.testing.assert_close(drawn.log_probs, wanted.log_probs)
    for ours, theirs in zip(response_log_probs(model, drawn), response_log_probs(small, drawn), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_language_model_is_trained_like_the_small_transformer():
    ours, theirs = run(policy=LanguageModel(Stub())), run(policy=base(seed=2))
    for trainer in (ours, theirs):
        trainer.fit(PROMPTS, iterations=2)
    np.testing.assert_allclose(ours.history.array("values"), theirs.history.array("values"))
    torch.testing.assert_close(ours.policy.value_heads.weight, theirs.policy.value_heads.weight)


def test_language_models_are_loaded_when_they_are_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        LanguageModel("gpt2")
    stub, asked = Stub(), []
    loader = types.SimpleNamespace(from_pretrained=lambda name: asked.append(name) or stub)
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(AutoModelForCausalLM=loader))
    assert LanguageModel().model is stub
    assert asked == ["gpt2"]
    with pytest.raises(TypeError, match="model"):
        LanguageModel(3)
    with pytest.raises(TypeError, match="model"):
        LanguageModel(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="value heads"):
        LanguageModel(stub).values(torch.zeros(1, 16))


def test_defaults_are_those_of_the_paper():
    config = cr.PPOConfig()
    assert (config.minibatch, config.epochs, config.lr, config.clip_norm, config.clip) == (64, 5, 1e-6, 0.5, 0.2)
    assert (config.gamma, config.lam, config.value_coef, config.kl_value_coef) == (0.99, 0.95, 0.5, 0.2)
    assert (config.beta, config.kl_target, config.top_k, config.min_new, config.max_new) == (0.2, None, 20, 2, 20)
    assert (config.multiplier_lr, config.multiplier_momentum, config.multiplier_max_grad) == (0.1, 0.1, 0.5)
    assert (config.episodes * config.max_new, config.multiplier_squash, config.temperature) == (2560, True, 1.0)
    wanted = inspect.signature(cr.LagrangeMultipliers).parameters
    assert [wanted[name].default for name in ("lr", "momentum", "max_grad")] == [0.1, 0.1, 0.5]
    wanted = inspect.signature(cr.nelder_mead_thresholds).parameters
    assert [wanted[name].default for name in ("tol", "max_iter")] == [0.01, 10]
