"""Dynamic reward weighting: exact small cases first, then independent oracles, limits and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize as so

from lib.policies import dynamic_reward_weighting as drw
from lib.policies.dynamic_reward_weighting import study

UP2, UP3, MIXED = [True, True], [True, True, True], [True, False, True]
TASK = study.ArithmeticTask(max_new=6)


def small(**changes):
    return drw.RLConfig(**({"prompts": 3, "group": 4, "minibatch": 3, "lr": 1e-3, "ratio": np.inf, "validation": 5} | changes))


def made(weighting, config=None, seed=0, **policy):
    weighting = drw.FixedWeights(study.protocols.EQUAL) if weighting is None else weighting
    return drw.Trainer(study.new_policy(width=16, max_new=6, **policy), TASK, weighting, config or small(), seed)


class Mixed(study.ArithmeticTask):
    """Rewards that an untrained policy can earn: an even first token, a short answer, any box sign."""

    def measure(self, rollouts):
        tokens = rollouts.responses.numpy()
        return np.stack([tokens[:, 0] % 2, rollouts.lengths.numpy(), (tokens == 14).any(1)], 1).astype(float)


def mixed(weighting, config=None, seed=0):
    return drw.Trainer(study.new_policy(width=16, max_new=6), Mixed(max_new=6), weighting, config or small(), seed)


# ---------------------------------------------------------------------------------------------------------- hypervolume


@pytest.mark.parametrize("volume", [drw.hypervolume, drw.hypervolume_by_slices])
@pytest.mark.parametrize(
    ("points", "maximize", "wanted"),
    [
        ([[1, 1]], UP2, 1),
        ([[2, 1], [1, 2]], UP2, 3),
        ([[1, 1, 1], [2, 2, 0.5]], UP3, 2.5),
        ([[2, 1], [2, 1], [1, 1]], UP2, 2),
        ([[-1, 5]], UP2, 0),
        ([[1, -2, 1]], MIXED, 2),
        ([[3]], [True], 3),
    ],
)
def test_hypervolume_exact(volume, points, maximize, wanted):
    assert volume(points, np.zeros(len(maximize)), maximize) == pytest.approx(wanted, abs=1e-12)


def test_hypervolume_of_no_points():
    for volume in (drw.hypervolume, drw.hypervolume_by_slices):
        assert volume(np.empty((0, 2)), [0, 0], UP2) == 0


@pytest.mark.parametrize("K", [2, 3, 4])
def test_slices_equal_the_library(K):
    rng = np.random.default_rng(K)
    for _ in range(50):
        points, ref = rng.normal(size=(rng.integers(1, 12), K)), rng.normal(size=K) - 1
        maximize = rng.random(K) < 0.5
        wanted = drw.hypervolume_by_slices(points, ref, maximize)
        assert drw.hypervolume(points, ref, maximize) == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_hypervolume_of_disjoint_gains_adds_up():
    alone = [drw.hypervolume([p], [0, 0], UP2) for p in ([3.0, 1.0], [1.0, 3.0])]
    assert drw.hypervolume([[3, 1], [1, 3]], [0, 0], UP2) == pytest.approx(sum(alone) - 1)


def test_contribution_of_dominated_and_duplicate_points_is_exactly_nothing():
    rng = np.random.default_rng(0)
    buffer = rng.random((8, 3))
    for point in (buffer[3], buffer[5] * 0.999, [2.0, 2.0, -1e-9], [0.0, 5.0, 5.0]):
        assert drw.hypervolume_contribution(buffer, point, np.zeros(3), UP3) == 0.0
    assert drw.hypervolume_contribution(np.empty((0, 2)), [2, 3], [0, 0], UP2) == pytest.approx(6)
    assert drw.hypervolume_contribution([[2.0, 1.0]], [0.1, 1.1], [0, 0], UP2) == pytest.approx(0.01)
    assert drw.hypervolume_contribution([[2.0, 1.0]], [1.0, 2.0], [0, 0], UP2) == pytest.approx(1)
    assert drw.hypervolume_contribution([[0.0, 9.0, 0.0]], [0.5, 5.0, 0.5], [0.0, 9.0, 0.0], MIXED) == pytest.approx(1)


def test_front_by_brute_force():
    rng = np.random.default_rng(1)
    for _ in range(30):
        points = rng.integers(0, 4, size=(12, 3)).astype(float)
        kept, seen = [], []
        gains = points * [1, -1, 1]
        for i, p in enumerate(gains):
            beaten = any((q >= p).all() and (q > p).any() for q in gains)
            if not beaten and p.tolist() not in seen:
                kept.append(i)
                seen.append(p.tolist())
        assert drw.pareto_front(points, MIXED).tolist() == kept


# ------------------------------------------------------------------------------------------------------------ weighting


def test_meta_reward_runs_from_half_to_two():
    assert (drw.meta_reward(0), drw.meta_reward(np.inf)) == (0.5, 2.0)
    assert drw.meta_reward(0.3) == pytest.approx(0.5 + 1.5 * np.tanh(0.3))
    assert (np.diff([drw.meta_reward(g) for g in np.linspace(0, 4, 50)]) > 0).all()
    assert drw.meta_reward(0.3, base=0.2, span=0.7) == pytest.approx(0.2 + 0.7 * np.tanh(0.3))
    assert drw.meta_reward(0.3, base=0.2, span=2) == pytest.approx(0.2 + 2 * np.tanh(0.3))


def test_constants_of_the_paper():
    config = drw.RLConfig()
    assert (config.prompts, config.group, config.minibatch, config.lr) == (64, 8, 32, 1e-6)
    assert (config.clip_norm, config.beta, config.ratio, config.temperature) == (1.0, 0.001, 0.2, 1.0)
    assert (config.estimator, config.eps, config.each, config.decay) == ("grpo", 1e-6, False, 0.0)
    assert drw.PREFERENCES["accuracy"] == (0.5, 0.25, 0.25)
    assert drw.PREFERENCES["balanced"] == (0.334, 0.333, 0.333)
    assert drw.PREFERENCES["efficiency"] == (0.25, 0.375, 0.375)
    guided = drw.HypervolumeGuided([0.5, 0.5], UP2)
    assert (guided.base, guided.span, guided.where, guided.scale) == (0.5, 1.5, "reward", 1.0)
    assert guided.normalizer.tolist() == [1, 1]
    gradient = drw.GradientInfluence([0.5, 0.5])
    assert (gradient.mu, gradient.clip, gradient.layers) == (1e-5, 1.0, None)


def test_guided_scale_follows_the_growth_and_keeps_points_that_add():
    guided = drw.HypervolumeGuided([0.5, 0.5], UP2)
    guided.start([1.0, 1.0])
    for point, growth, kept in (([2.0, 3.0], 2, 2), ([1.5, 2.0], 0, 2), ([3.0, 2.0], 1, 3)):
        guided.step(drw.StepInfo(point=point))
        assert guided.growth[-1] == pytest.approx(growth)
        assert guided.scale == pytest.approx(0.5 + 1.5 * np.tanh(growth))
        assert len(guided.buffer) == kept


def test_normalizer_measures_in_other_units():
    guided = drw.HypervolumeGuided([0.5, 0.5], [True, False], normalizer=[1.0, 10.0])
    guided.start([0.0, 30.0])
    guided.step(drw.StepInfo(point=[0.5, 10.0]))
    assert guided.growth == pytest.approx([1.0])


def test_identical_objectives_stay_uniform():
    method = drw.GradientInfluence([1 / 3] * 3, mu=0.1)
    for gradient in np.random.default_rng(0).normal(size=(200, 5)):
        method.step(drw.StepInfo(gradients=np.tile(gradient, (3, 1)), lr=0.05))
    np.testing.assert_allclose(method.weights, 1 / 3, rtol=1e-12)


def test_orthogonal_gradients_stay_uniform_and_a_zero_one_decays():
    method = drw.GradientInfluence([1 / 3] * 3, mu=0.5)
    method.step(drw.StepInfo(gradients=np.eye(3), lr=0.1))
    np.testing.assert_allclose(method.weights, 1 / 3)
    method = drw.GradientInfluence([1 / 3] * 3, mu=0.5)
    method.step(drw.StepInfo(gradients=[[2.0, 0, 0], [0, 2.0, 0], [0, 0, 0]], lr=0.1))
    assert method.weights[2] / method.weights[0] == pytest.approx(np.exp(-0.1 * 4 / 0.5))


def test_mirror_step_solves_its_problem():
    rng = np.random.default_rng(2)
    for K in (2, 3, 5):
        old, influences, rate = rng.dirichlet(np.ones(K)), rng.normal(size=K), 0.7

        def cost(w, old=old, influences=influences, rate=rate):
            return -rate * w @ influences + (w * np.log(w / old)).sum()

        simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
        options = {"ftol": 1e-15, "maxiter": 500}
        found = so.minimize(cost, old, method="SLSQP", bounds=[(1e-9, 1)] * K, constraints=simplex, options=options)
        np.testing.assert_allclose(drw.mirror_step(old, influences, rate), found.x, atol=1e-6)


def test_log_ratios_add_up():
    rng, method = np.random.default_rng(3), drw.GradientInfluence([0.2, 0.3, 0.5], mu=0.3)
    rates = rng.random(50)
    for lr in rates:
        method.step(drw.StepInfo(gradients=rng.normal(size=(3, 4)), lr=lr))
    moved = np.einsum("t,tk->k", rates / 0.3, np.array(method.influences))
    wanted = np.log([0.2, 0.3, 0.5]) + moved
    got = np.log(method.weights)
    np.testing.assert_allclose(got - got[0], wanted - wanted[0], rtol=1e-10, atol=1e-10)


def test_mirror_step_at_the_limits():
    np.testing.assert_allclose(drw.mirror_step([0.5, 0.5], [1e4, 0], 1.0), [1, 0], atol=1e-12)
    np.testing.assert_allclose(drw.mirror_step([1.0, 0.0], [0.0, 1e5], 1.0), [1, 0])
    np.testing.assert_allclose(drw.mirror_step([0.3, 0.7], [1.0, 5.0], 0.0), [0.3, 0.7])


def test_influence_is_the_inner_product_with_the_sum():
    G = np.random.default_rng(4).normal(size=(3, 6))
    np.testing.assert_allclose(drw.influence(G), [g @ (G[0] + G[1] + G[2]) for g in G])


# -------------------------------------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"First 3 + 4 = 7, then 7 + 5 = 12: \boxed{12}", True),
        (r"\boxed{12}", False),
        (r"First this: \boxed{12}", False),
        ("1. add\n2. box\n" + r"\boxed{12}", True),
        ("Step 1: add\nStep 2: box\n" + r"\boxed{12}", True),
        ("- add\n* box\n" + r"\boxed{12}", True),
        (r"first, second, next, then \boxed{ }", False),
        ("a) add\nb) box, then 12", False),
    ],
)
def test_clarity_table(text, wanted):
    assert drw.is_clear(text) is wanted


def test_boxes():
    assert drw.boxed(r"\boxed{1} and \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert drw.boxed(r"\boxed{1} and \boxed{2") == "1"
    assert drw.boxed("no box") is None
    assert drw.is_right(r"\boxed{1 2}", "12")
    assert not drw.is_right(r"\boxed{13}", "12")


def test_conciseness_compares_with_all_responses_so_far():
    rewards = drw.RunningRewards([True, False])
    assert rewards([[0.3, 10], [0.5, 20]]).tolist() == [[0.3, 1], [0.5, 0]]
    assert drw.RunningRewards([False])([[5.0], [5.0]]).tolist() == [[0.0], [0.0]]  # not below their own mean
    assert rewards([[0.0, 14.0]]).tolist() == [[0.0, 1.0]]  # below (10 + 20 + 14) / 3
    assert rewards([[0.0, 15.0]]).tolist() == [[0.0, 0.0]]  # not below (10 + 20 + 14 + 15) / 4


def test_the_small_language_agrees_with_the_text_rules():
    prompts, answers = study.demonstrations("C", 300, seed=5)
    width = max(map(len, answers))
    tokens = np.array([a + [0] * (width - len(a)) for a in answers])
    mask = np.arange(width) < np.array([len(a) for a in answers])[:, None]
    sums = np.array([sum(t - 4 for t in p if 4 <= t < 14) for p in prompts])
    measured = study.verify(tokens, mask, sums)
    for row, answer, right in zip(measured, answers, sums, strict=True):
        text = study.decode(answer).replace("[", r"\boxed{").replace("]", "}")
        assert row.tolist() == [drw.is_right(text, str(right)), len(answer), drw.is_clear(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[ 1 2 ] <end>", (1, 0)),
        ("[ 1 3 ] [ 1 2 ]", (1, 0)),
        ("[ 1 2 ] [ 1 3 ]", (0, 0)),
        ("first then [ ] <end>", (0, 0)),
        ("first then [ so 1 2 ]", (0, 1)),
        ("first then [ 1 2", (0, 0)),
        ("] 1 2 [ next next 1 2 ]", (0, 1)),
        ("1 2 first then", (0, 0)),
    ],
)
def test_verifier_table(text, wanted):
    tokens = study.encode(text)
    accuracy, length, clarity = study.verify([tokens], np.ones((1, len(tokens)), bool), [12])[0]
    assert (accuracy, clarity) == wanted
    assert length == len(tokens)


def test_a_guided_weighting_starts_a_run_afresh():
    guided = drw.HypervolumeGuided([0.5, 0.5], [True, True])
    for _ in range(2):
        guided.start([0.0, 0.0])
        assert (guided.scale, guided.growth, len(guided.buffer)) == (1.0, [], 1)
        guided.step(drw.StepInfo(point=[1.0, 1.0]))
        assert len(guided.growth) == 1
