"""The training loop: what a scale of rewards does to an update, linearity of gradients, resuming, rivals and the door."""

from __future__ import annotations

import copy
import hashlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch

from lib import papers
from lib.networks import advantages
from lib.policies import dynamic_reward_weighting as drw
from lib.policies.dynamic_reward_weighting import language_models, study
from lib.policies.dynamic_reward_weighting.study import weights
from lib.policies.dynamic_reward_weighting.training import clipped_rows, loss_of

EQUAL = study.protocols.EQUAL
UP3 = (True, False, True)


class Easy(study.ArithmeticTask):
    """Rewards that an untrained policy earns: an even first token, a short answer, a box sign."""

    def measure(self, rollouts):
        tokens = rollouts.responses.numpy()
        return np.stack([tokens[:, 0] % 2, rollouts.lengths.numpy(), (tokens == 14).any(1)], 1).astype(float)


def config(**changes):
    own = {"prompts": 3, "group": 4, "minibatch": 3, "lr": 1e-3, "ratio": np.inf, "validation": 5}
    return drw.RLConfig(**(own | changes))


def trainer(weighting=None, seed=0, **changes):
    weighting = drw.FixedWeights(EQUAL) if weighting is None else weighting
    return drw.Trainer(study.new_policy(width=16, max_new=6), Easy(max_new=6), weighting, config(**changes), seed)


def flat(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()]).numpy()


class Scaled(drw.FixedWeights):
    def __init__(self, scale, where="reward"):
        super().__init__(EQUAL)
        self.scale, self.where = scale, where


@pytest.mark.parametrize("kind", ["grpo", "reinforce_pp"])
def test_a_scale_of_rewards_cancels_where_advantages_are_normalized(kind):
    moved = {}
    for scale in (1.0, 2.0, 0.5):
        run = trainer(Scaled(scale), estimator=kind, eps=1e-12)
        run.step()
        moved[scale] = flat(run.policy)
    np.testing.assert_allclose(moved[2.0], moved[1.0], atol=1e-10)
    np.testing.assert_allclose(moved[0.5], moved[1.0], atol=1e-10)


@pytest.mark.parametrize("kind", ["grpo", "reinforce_pp"])
def test_whole_runs_are_bit_identical_for_powers_of_two(kind):
    runs = [trainer(Scaled(scale), estimator=kind, eps=0.0) for scale in (1.0, 2.0)]
    for _ in range(4):
        for run in runs:
            run.step()
    assert np.array_equal(flat(runs[0].policy), flat(runs[1].policy))


@pytest.mark.parametrize(("kind", "where"), [("rloo", "reward"), ("dr_grpo", "reward"), ("grpo", "advantage")])
def test_a_scale_has_an_effect_elsewhere(kind, where):
    # beta above zero: Adam alone would undo a constant factor of the whole loss.
    gains = []
    for scale in (1.0, 2.0):
        run = trainer(Scaled(scale, where), estimator=kind)
        run.step()
        rewards = np.random.default_rng(0).random((12, 3))
        gains.append(run.gains(rewards, run.rollouts).numpy())
    np.testing.assert_allclose(gains[1], 2 * gains[0], rtol=1e-9)
    assert abs(gains[0]).max() > 0.1


def test_advantages_are_those_of_the_paper():
    r = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    grpo = advantages(r, 4).numpy()
    np.testing.assert_allclose(grpo[:4], (r[:4] - 0.5) / (r[:4].std(ddof=1) + 1e-6))
    assert (grpo[4:] == 0).all()
    for c in (0.5, 2.0):
        np.testing.assert_allclose(advantages(c * r, 4).numpy(), grpo, atol=1e-5)
        np.testing.assert_allclose(advantages(c * r, 4, "rloo"), c * advantages(r, 4, "rloo"))
    assert abs(advantages(r, 4, "rloo").reshape(2, 4).sum(1)).max() < 1e-12


def test_gains_weigh_rewards_then_normalize_or_the_other_way():
    run = trainer(drw.FixedWeights([0.5, 0.3, 0.2]))
    run.step()
    rewards = np.random.default_rng(1).random((12, 3))
    wanted = advantages(rewards @ [0.5, 0.3, 0.2], 4)
    np.testing.assert_allclose(run.gains(rewards, run.rollouts), wanted)
    each = trainer(drw.FixedWeights([0.5, 0.3, 0.2]), each=True)
    each.step()
    wanted = advantages(rewards, 4).numpy() @ [0.5, 0.3, 0.2]
    np.testing.assert_allclose(each.gains(rewards, each.rollouts), wanted)


def gradient_of(run, gains):
    logs = run._logs(run.policy, run.rollouts, slice(None))
    loss = loss_of(logs, run.rollouts.log_probs, None, gains, run.rollouts.mask, run.config)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, run.parameters)]).numpy()


@pytest.mark.parametrize("kind", ["rloo", "dr_grpo"])
def test_gradients_of_rewards_add_up_to_that_of_their_sum(kind):
    w = np.array([0.5, 0.3, 0.2])
    run = trainer(drw.GradientInfluence(w, mu=1.0, clip=np.inf), estimator=kind, beta=0.0, lr=0.0)
    run.step()
    rewards = np.random.default_rng(2).random((12, 3))
    parts = run.reward_gradients(run.rollouts, rewards)
    whole = gradient_of(run, advantages(rewards @ w, 4, kind))
    np.testing.assert_allclose(w @ parts, whole, rtol=1e-6, atol=1e-9)


def test_with_normalized_advantages_they_do_not():
    w = np.full(3, 1 / 3)
    run = trainer(drw.GradientInfluence(w, mu=1.0, clip=np.inf), beta=0.0, lr=0.0)
    run.step()
    rewards = np.random.default_rng(2).random((12, 3))
    parts, whole = run.reward_gradients(run.rollouts, rewards), gradient_of(run, advantages(rewards @ w, 4))
    assert np.linalg.norm(w @ parts - whole) > 0.1 * np.linalg.norm(whole)
    each = advantages(rewards, 4).numpy() @ w
    np.testing.assert_allclose(w @ parts, gradient_of(run, torch.from_numpy(each)), rtol=1e-6, atol=1e-9)


def test_divergence_from_the_first_policy_enters_each_gradient():
    run = trainer(drw.GradientInfluence(EQUAL, mu=1.0, clip=np.inf), beta=0.0, lr=0.0)
    run.step()
    rewards = np.zeros((12, 3))
    assert (run.reward_gradients(run.rollouts, rewards) == 0).all()
    other = trainer(drw.GradientInfluence(EQUAL, mu=1.0, clip=np.inf), beta=0.3, lr=0.02)
    other.step()
    found = other.reward_gradients(other.rollouts, rewards)
    logs = other._logs(other.policy, other.rollouts, slice(None))
    gap = (other._logs(other.reference, other.rollouts, slice(None)) - logs).double()
    mask = other.rollouts.mask
    penalty = 0.3 * (torch.exp(gap) - gap - 1)[mask].mean()
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(penalty, other.parameters)]).numpy()
    np.testing.assert_allclose(found, np.tile(wanted, (3, 1)), rtol=1e-6, atol=1e-12)


def test_loss_by_hand():
    mask = torch.tensor([[True, True], [True, False]])
    logs, first = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]]), torch.tensor([[-1.5, -1.0], [-0.5, 0.0]])
    penalty = (np.exp(-0.5) + 0.5 - 1) + (np.exp(1.0) - 1 - 1)
    wanted = -(2 * 1.0 + 1 * -0.5) / 3 + 0.2 * penalty / 3
    gains = torch.tensor([1.0, -0.5])
    assert float(loss_of(logs, logs, first, gains, mask, config(beta=0.2))) == pytest.approx(wanted, rel=1e-6)
    assert float(loss_of(logs, logs, None, gains, mask, config(beta=0.2))) == pytest.approx(-0.5)


def test_loss_of_a_single_token_and_of_none():
    logs, first = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -1.0]])
    for mask, wanted in (([[True, False]], -2.0 + 0.2 * (np.exp(-0.5) + 0.5 - 1)), ([[False, False]], 0.0)):
        found = loss_of(logs, logs, first, torch.tensor([2.0]), torch.tensor(mask), config(beta=0.2))
        assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_gradients_are_clipped_whole_and_then_restricted_to_layers():
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    np.testing.assert_allclose(clipped_rows(rows, 1.0), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(clipped_rows(rows, 1.0, torch.tensor([False, True])), [[0.8], [0.4]], rtol=1e-6)
    np.testing.assert_allclose(clipped_rows(rows, np.inf), rows)
    run = trainer(drw.GradientInfluence(EQUAL, mu=1.0, clip=0.5))
    run.step()
    rewards = np.random.default_rng(2).random((12, 3))
    whole = run.reward_gradients(run.rollouts, rewards)
    assert np.linalg.norm(whole, axis=1) == pytest.approx([0.5] * 3)
    run.weighting.layers = [1]
    part = run.reward_gradients(run.rollouts, rewards)
    sizes = [p.numel() for name, p in run.policy.named_parameters() if name.startswith("blocks.1.")]
    assert part.shape == (3, sum(sizes))
    assert set(np.round(part[0], 12)) <= set(np.round(whole[0], 12))
    run.weighting.layers = [2]
    with pytest.raises(ValueError, match="layers must be below"):
        run.reward_gradients(run.rollouts, rewards)


def test_the_new_weights_are_used_in_the_step_that_made_them():
    run = trainer(drw.GradientInfluence(EQUAL, mu=1e-3))
    run.step()
    assert abs(run.history.weights[0] - 1 / 3).max() > 1e-4
    np.testing.assert_array_equal(run.history.weights[0], run.weighting.weights)


def test_a_scale_is_used_in_the_step_after_the_one_that_made_it():
    run = trainer(drw.HypervolumeGuided(EQUAL, UP3, normalizer=[1, 30, 1]), estimator="rloo")
    scales = []
    for _ in range(4):
        run.step()
        scales.append(run.weighting.scale)
    assert run.history.scale == [1.0, *scales[:-1]]
    assert run.history.validated == 5 * 5


def test_looking_does_not_change_what_is_drawn():
    plain, looked = trainer(Scaled(1.0)), trainer(drw.HypervolumeGuided(EQUAL, UP3), eps=1e-6)
    looked.test(4)
    plain.step()
    looked.step()
    assert torch.equal(plain.rollouts.tokens, looked.rollouts.tokens)
    np.testing.assert_array_equal(plain.test(7), plain.test(7))


def test_polynomial_decay_and_minibatches():
    run = trainer(decay=2.0, steps=4, minibatch=1)
    rates = []
    for _ in range(5):
        run.step()
        rates.append(run.optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, 1e-3 * np.array([1, 9 / 16, 1 / 4, 1 / 16, 0]))
    assert run.optimizer.state[run.parameters[0]]["step"] == 15


@pytest.mark.parametrize(
    "weighting", [drw.GradientInfluence(EQUAL, mu=0.01), drw.HypervolumeGuided(EQUAL, UP3)], ids=["g", "h"]
)
def test_pickled_in_the_middle_it_goes_on_alike(weighting):
    run = trainer(weighting, estimator="rloo")
    run.step()
    copies = [pickle.loads(pickle.dumps(run)), copy.deepcopy(run)]
    for other in (run, *copies):
        other.step()
        other.test(3)
    for other in copies:
        assert np.array_equal(flat(other.policy), flat(run.policy))
        assert np.array_equal(other.history.points, run.history.points)
        assert other.weighting.scale == run.weighting.scale


def test_train_leaves_its_arguments_and_repeats_bit_for_bit():
    policy, weighting = study.new_policy(width=16, max_new=6), drw.GradientInfluence(EQUAL, mu=0.01)
    before = flat(policy).copy()
    runs = [
        drw.train(policy, Easy(max_new=6), weighting, config(), steps=3, test_every=2, test_prompts=4, seed=1) for _ in "ab"
    ]
    assert np.array_equal(flat(policy), before)
    assert not weighting.influences
    assert runs[0].tested == [0, 2, 3]
    assert np.array_equal(runs[0].points, runs[1].points)
    assert np.array_equal(runs[0].weights, runs[1].weights)
    assert runs[0].volumes([0.0, 7.0, 0.0]).shape == (3,)
    assert (np.diff(runs[0].volumes([0.0, 7.0, 0.0])) >= 0).all()
    assert len(runs[0].front()) >= 1


def test_a_callback_ends_a_run():
    def stop(run):
        raise StopIteration

    for callback in (stop, lambda run: run.steps >= 1):
        history = drw.train(
            study.new_policy(width=16, max_new=6),
            Easy(max_new=6),
            drw.FixedWeights(EQUAL),
            config(),
            steps=9,
            callback=callback,
        )
        assert history.tested == [0, 1]


def test_float32_policies_train():
    run = drw.Trainer(
        study.new_policy(width=16, max_new=6).float(), Easy(max_new=6), drw.GradientInfluence(EQUAL, mu=0.1), config()
    )
    run.step()
    assert np.isfinite(flat(run.policy)).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: drw.FixedWeights([0.5, 0.6]),
        lambda: drw.FixedWeights([1.5, -0.5]),
        lambda: drw.RLConfig(estimator="ppo"),
        lambda: drw.RLConfig(group=1),
        lambda: drw.RLConfig(group=1, estimator="rloo"),
        lambda: drw.RLConfig(prompts=5, minibatch=2),
        lambda: drw.RLConfig(lr=float("nan")),
        lambda: drw.HypervolumeGuided([0.5, 0.5], [True]),
        lambda: drw.HypervolumeGuided([0.5, 0.5], [1, 0]),
        lambda: drw.HypervolumeGuided([0.5, 0.5], [True, True], where="loss"),
        lambda: drw.HypervolumeGuided([0.5, 0.5], [True, True]).step(drw.StepInfo(point=[0, 0])),
        lambda: drw.GradientInfluence([0.5, 0.5]).step(drw.StepInfo()),
        lambda: drw.GradientInfluence([0.5, 0.5]).step(drw.StepInfo(gradients=np.ones((3, 2)))),
        lambda: drw.GradientInfluence([0.5, 0.5], layers=[]),
        lambda: trainer(drw.FixedWeights([0.5, 0.5])),
    ],
)
def test_bad_settings_are_refused(call):
    with pytest.raises(ValueError, match=r"must|missing"):
        call()


def test_reinforce_needs_no_group():
    drw.RLConfig(group=1, estimator="reinforce_pp")


# --------------------------------------------------------------------------------------------------------------- rivals


def test_shortest_combination_against_a_grid():
    rng = np.random.default_rng(0)
    grid = np.array([(a, b, 100 - a - b) for a in range(101) for b in range(101 - a)]) / 100
    for _ in range(20):
        G = rng.normal(size=(3, 3)) + 0.7
        w = study.min_norm_weights(G @ G.T)
        best = np.linalg.norm(grid @ G, axis=1).min()
        assert w.min() >= 0
        assert w.sum() == pytest.approx(1)
        assert np.linalg.norm(w @ G) <= best + 1e-9
        combined = w @ G  # no reward is made worse
        assert (G @ combined >= combined @ combined - 1e-9).all()
    np.testing.assert_allclose(study.min_norm_weights(np.zeros((3, 3))), 1 / 3)


def test_on_the_bent_front_weighted_sums_end_in_a_corner():
    x = np.linspace(0, 1, 1001)
    for w in (0.2, 0.5, 0.8):
        best = (study.bent_front(x) @ [w, 1 - w]).argmax()
        assert best in (0, 1000)
    assert study.ascend("fixed", 0.3, steps=4000)[-1].max() > 0.95
    assert study.ascend("gradient", 0.3, steps=4000)[-1].max() > 0.95
    np.testing.assert_allclose(study.ascend("hypervolume", 0.6, rate=2, steps=4000)[-1], 0.25, atol=1e-3)
    np.testing.assert_allclose(study.ascend("chebyshev", 0.6, rate=0.05, steps=4000)[-1], 0.25, atol=0.02)


def test_methods_of_the_race():
    for method in study.METHODS:
        weighting = study.weighting_of(method, lr=1e-3, factor=0.02)
        assert weighting.weights.sum() == pytest.approx(1)
    assert study.weighting_of("gradient", lr=1e-3, factor=0.02).mu == pytest.approx(0.05)
    assert study.weighting_of("guided advantage").where == "advantage"


def test_reading_curves():
    assert study.steps_to([0, 1, 1, 3], 2, 5) == 12.5
    assert study.steps_to([3, 1], 2, 5) == 0
    assert study.steps_to([0, 1], 2, 5) == 10
    assert study.settling_step([0, 1, 10, 5], 0.5, 1) == pytest.approx(1 + 4 / 9)
    assert study.volume([[1.0, 0.0, 1.0]]) == pytest.approx(1)


# -------------------------------------------------------------------------------------------------------- weights, TRL


def test_shipped_weights_are_verified(tmp_path):
    path = papers.root() / "results" / weights.NAME
    assert hashlib.sha256(path.read_bytes()).hexdigest() == weights.WEIGHTS_SHA256
    other = tmp_path / weights.NAME
    other.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        study.load_base("V", other)
    with pytest.raises(FileNotFoundError, match="make_weights"):
        study.load_base("V", tmp_path / "none")
    policy, origin = study.load_base("C")
    assert {"command", "commit", "torch", "cpu", "cpu_seconds"} <= set(origin)
    assert policy.tokens.weight.dtype == torch.float64


def test_weights_go_through_the_file(tmp_path, monkeypatch):
    policies = {base: study.new_policy(weights.WIDTH, seed=n).float() for n, base in enumerate(study.RECIPES)}
    data = weights.pack(policies, {base: np.zeros(2) for base in policies}, {"commit": "x"})
    monkeypatch.setattr(weights, "WEIGHTS_SHA256", hashlib.sha256(data).hexdigest())
    path = tmp_path / weights.NAME
    path.write_bytes(data)
    found, origin = weights.load_base("C", path)
    assert origin == {"commit": "x"}
    np.testing.assert_allclose(found.tokens.weight.detach(), policies["C"].tokens.weight.detach(), rtol=1e-3, atol=1e-6)


@pytest.fixture
def stand_ins(monkeypatch):
    """TRL and transformers by name only: what is called, and with what."""
    made = {}

    class Trainer:
        def __init__(self, **given):
            made.update(given, callbacks=[])

        def add_callback(self, callback):
            made["callbacks"].append(callback)

        def train(self):
            args = types.SimpleNamespace(learning_rate=1e-6, gradient_accumulation_steps=8, steps_per_generation=16)
            (callback,) = made["callbacks"]
            callback.on_train_begin(args, None, None)
            made["first"] = self.reward_weights.tolist()
            callback.on_step_end(args, types.SimpleNamespace(global_step=1), None)
            made["between"] = self.reward_weights.tolist()
            callback.on_step_end(args, types.SimpleNamespace(global_step=2), None)
            made["second"] = self.reward_weights.tolist()

    trl = types.SimpleNamespace(GRPOTrainer=Trainer, GRPOConfig=lambda **given: given)
    monkeypatch.setitem(sys.modules, "trl", trl)
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(TrainerCallback=object))
    return made


def test_trl_gets_the_papers_settings_and_changing_weights(stand_ins):
    points = iter([[0.2, 30.0, 0.1], [0.2, 30.0, 0.1]])
    guided = drw.HypervolumeGuided(drw.PREFERENCES["accuracy"], UP3)
    language_models.train_with_trl("data", guided, lambda trainer: next(points), scale_rewards="none")
    assert stand_ins["first"] == pytest.approx([0.5, 0.25, 0.25])
    assert stand_ins["between"] == stand_ins["first"]
    assert stand_ins["second"] == pytest.approx([0.25, 0.125, 0.125])
    args = stand_ins["args"]
    assert (args["learning_rate"], args["num_generations"], args["beta"]) == (1e-6, 8, 0.001)
    assert (args["max_completion_length"], args["scale_rewards"]) == (2048, "none")
    assert stand_ins["model"] == "Qwen/Qwen3-8B"


def test_trl_rewards():
    right, short, clear = language_models.reward_functions()
    said = [[{"role": "assistant", "content": r"\boxed{7}"}], r"first 3, then 4: \boxed{8}"]
    assert right(completions=said, answer=["7", "7"]) == [1.0, 0.0]
    assert short(completions=said, completion_ids=[[1, 2], [1, 2, 3, 4]]) == [1.0, 0.0]
    assert clear(completions=said) == [0.0, 1.0]


def test_trl_missing_or_asked_for_too_much(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ModuleNotFoundError, match="pip install trl"):
        language_models.train_with_trl("data", drw.FixedWeights(EQUAL))
    with pytest.raises(ValueError, match="3 rewards, got 2 weights"):
        language_models.train_with_trl("data", drw.FixedWeights([0.5, 0.5]))
    with pytest.raises(TypeError, match="weighting must be a RewardWeighting"):
        language_models.train_with_trl("data", [0.5, 0.25, 0.25])
    trainer = types.SimpleNamespace(weighting=drw.HypervolumeGuided(EQUAL, UP3))
    with pytest.raises(ValueError, match="validate is missing"):
        language_models.weighting_callback(trainer)
    alone = types.SimpleNamespace(num_processes=1)
    several = types.SimpleNamespace(num_processes=2)
    for scale, accelerator, message in (
        ("batch", alone, "scale_rewards must be"),
        ("group", several, "one process only, got 2"),
    ):
        trainer = types.SimpleNamespace(weighting=drw.GradientInfluence(EQUAL), scale_rewards=scale, accelerator=accelerator)
        with pytest.raises(ValueError, match=message):
            language_models.weighting_callback(trainer)


def test_coordinates_of_gradients_keep_their_inner_products():
    rows = np.random.default_rng(0).normal(size=(3, 40))
    rows[2] = rows[0] - 2 * rows[1]  # dependent
    told = [[torch.from_numpy(row[:7]), torch.from_numpy(row[7:].reshape(3, 11))] for row in rows]
    found = language_models._coordinates(told)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found @ found.T, rows @ rows.T, atol=1e-10)
    np.testing.assert_allclose(drw.influence(found), drw.influence(rows), atol=1e-10)


def test_blocks_of_language_models_are_found_by_name():
    names = ["model.embed.weight", "model.layers.1.mlp.weight", "model.layers.11.mlp.weight", "h.1.attn.weight"]
    assert language_models._counting(names, None) == [True] * 4
    assert language_models._counting(names, [1]) == [False, True, False, True]
    with pytest.raises(ValueError, match="layers must be blocks"):
        language_models._counting(names, [2])


def test_hypervolume_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "moocore", None)
    with pytest.raises(ModuleNotFoundError, match="pip install moocore"):
        drw.hypervolume([[1.0]], [0.0], [True])
