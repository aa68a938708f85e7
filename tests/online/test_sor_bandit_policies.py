"""Policies of `lib.online.sor_bandit` against bisection, least squares, literal retellings and exact toy problems."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from lib.online.sor_bandit import (
    BinnedBandit,
    ChebCB,
    FixedArm,
    Policy,
    TsallisINF,
    bandits,
    chebcb,
    replay,
    tsallis_probabilities,
)
from lib.online.sor_bandit.bandits import first_minimum
from lib.online.sor_bandit.study import (
    UCB1,
    EpsilonGreedy,
    GPThompson,
    RestartedBandit,
    official_tsallis_weights,
)

RANGE = (-0.15, 0.65)
EDGES = np.linspace(*RANGE, 6)
POLICIES: dict[str, Callable[[int], Policy]] = {
    "TsallisINF": lambda seed: TsallisINF(4, seed=seed),
    "BinnedBandit": lambda seed: BinnedBandit(lambda i: TsallisINF(4, seed=10 * seed + i), EDGES),
    "ChebCB": lambda seed: ChebCB(4, 3, RANGE, seed=seed),
    "EpsilonGreedy": lambda seed: EpsilonGreedy(4, seed=seed),
    "UCB1": lambda seed: UCB1(4, seed=seed),
    "RestartedBandit": lambda seed: RestartedBandit(lambda k: TsallisINF(4, seed=10 * seed + k), 40),
    "GPThompson": lambda seed: GPThompson([1.0, 1.2, 1.4, 1.6], RANGE, seed=seed, max_points=60),
    "FixedArm": lambda seed: FixedArm(4, 2),
}
ADAPTIVE = [name for name in POLICIES if name != "FixedArm"]


@pytest.fixture(params=POLICIES)
def make(request: pytest.FixtureRequest) -> Callable[[int], Policy]:
    return POLICIES[request.param]


def noisy_table(n_rounds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Costs of four arms around 40, 30, 20 and 60 that hardly depend on the context."""
    rng = np.random.default_rng(seed)
    contexts = rng.uniform(-0.15, 0.6, n_rounds)
    return 1 + rng.poisson([40, 30, 20, 60], (n_rounds, 4)) + np.round(5 * contexts)[:, None], contexts


# Tsallis-INF


@pytest.mark.parametrize("d", [1, 2, 5, 20])
@pytest.mark.parametrize("eta", [2.0, 0.1, 0.01])
def test_tsallis_probabilities_equal_bisection(d: int, eta: float) -> None:
    k = np.random.default_rng(d).uniform(0, 500, d)

    def excess(x: float) -> float:
        return float((4 / (eta * (k - x)) ** 2).sum() - 1)

    root = brentq(excess, k.min() - 2.01 * np.sqrt(d) / eta, k.min() - 1.99 / eta, xtol=1e-13, rtol=1e-15)
    p = tsallis_probabilities(k, eta)
    np.testing.assert_allclose(p, 4 / (eta * (k - root)) ** 2, rtol=1e-9)
    assert abs(p.sum() - 1) < 1e-12


def test_tsallis_probabilities_maximize_the_regularized_objective() -> None:
    k, eta = np.array([1.0, 4.0, 2.0]), 0.5
    p = tsallis_probabilities(k, eta)

    def objective(q: np.ndarray) -> np.ndarray:
        # p_i = 4 (eta (k_i - x))^-2 is stationary for sqrt-entropy of weight 4 / eta.
        return 4 / eta * np.sqrt(q).sum(axis=-1) - q @ k

    rivals = np.random.default_rng(0).dirichlet(np.ones(3), 20_000)
    assert objective(p) >= objective(rivals).max()
    assert objective(p) - objective(rivals).max() < 1e-2


def test_tsallis_probabilities_are_monotone_uniform_and_shift_invariant() -> None:
    k = np.array([3.0, 1.0, 7.0, 2.0])
    p = tsallis_probabilities(k, 0.3)
    assert p.argsort().tolist() == (-k).argsort().tolist()
    np.testing.assert_allclose(tsallis_probabilities(k + 12_345.0, 0.3), p, rtol=1e-9)
    np.testing.assert_allclose(tsallis_probabilities(np.full(7, 5.0), 0.3), 1 / 7, rtol=1e-12)
    np.testing.assert_allclose(tsallis_probabilities(k, 1e-9), 0.25, rtol=1e-6)  # no information, no preference
    assert tsallis_probabilities(k, 1e3)[1] > 0.999


@pytest.mark.parametrize(("k", "eta"), [([], 1.0), ([np.nan], 1.0), ([[1.0]], 1.0), ([1.0], 0.0), ([1.0], np.nan)])
def test_tsallis_probabilities_refuse_bad_input(k: object, eta: float) -> None:
    with pytest.raises(ValueError, match=r"losses|eta"):
        tsallis_probabilities(k, eta)  # type: ignore[arg-type]


def test_official_root_finding_equals_a_literal_newton_loop() -> None:
    k, eta, x = np.array([5.0, 9.0, 30.0]), 0.2, -1.0
    for _ in range(20):
        w = [4 / (eta * (ki - x)) ** 2 for ki in k]
        x = x - (sum(w) - 1) / (eta * sum(wi**1.5 for wi in w))
    np.testing.assert_allclose(official_tsallis_weights(k, eta), w, rtol=1e-9)


def test_official_root_finding_works_near_zero_and_fails_for_large_losses() -> None:
    np.testing.assert_allclose(official_tsallis_weights([0.0, 0.5], 2.0), tsallis_probabilities([0.0, 0.5], 2.0), atol=1e-9)
    assert abs(official_tsallis_weights(np.linspace(800, 900, 20), 0.05).sum() - 1) > 0.1


def test_importance_weighting_is_unbiased() -> None:
    costs, estimates = np.array([10.0, 30.0, 20.0, 15.0]), []
    for seed in range(4000):
        policy = TsallisINF(4, seed=seed)
        policy.losses_[:] = [0.0, 2.0, 1.0, 0.5]
        before = policy.losses_.copy()
        policy.update(costs[policy.select()])
        estimates.append(policy.losses_ - before)
    error = np.std(estimates, axis=0) / np.sqrt(len(estimates))
    assert (np.abs(np.mean(estimates, axis=0) - (costs - 1)) < 4 * error).all()


def test_tsallis_inf_retold_step_by_step() -> None:
    policy, k, costs = TsallisINF(3, seed=5), np.zeros(3), []
    scale = 1.0
    for t in range(1, 30):
        arm = policy.select()
        p = tsallis_probabilities(k / scale, 2 / np.sqrt(t))
        np.testing.assert_allclose(policy.probabilities_, p, rtol=1e-6)  # losses are kept to 26 binary digits
        cost = [12, 7, 9][arm] + t % 3
        policy.update(cost)
        costs.append(cost)
        k[arm] += (cost - 1) / p[arm]
        scale = np.mean(costs) - 1
        assert policy.scale_ == pytest.approx(scale)


def test_cost_one_everywhere_leaves_the_choice_uniform() -> None:
    policy = TsallisINF(5, seed=0)
    for _ in range(10):
        policy.select()
        policy.update(1)
    np.testing.assert_allclose(policy.probabilities_, 0.2)


def test_scale_and_offset_options() -> None:
    fixed = TsallisINF(2, seed=0, scale=3.0, offset=0.0)
    seconds = TsallisINF(2, seed=0, offset=0.0)
    for policy in (fixed, seconds):
        policy.select()
        policy.update(0.5)
    assert fixed.scale_ == 3.0
    assert seconds.scale_ == 0.5
    with pytest.raises(ValueError, match="scale must be a finite number above 0"):
        TsallisINF(2, scale=0.0)


@pytest.mark.parametrize("means", [(0.3, 0.7), (0.5, 0.6)])
def test_regret_on_two_bernoulli_arms(means: tuple[float, float]) -> None:
    n_rounds, regrets = 2000, []
    for seed in range(5):
        table = 1 + (np.random.default_rng(seed).random((n_rounds, 2)) < means)
        played = replay(table, TsallisINF(2, seed=100 + seed))["actions"]
        regrets.append(np.asarray(means)[played].sum() - min(means) * n_rounds)
    assert np.mean(regrets) <= 4 * np.sqrt(2 * n_rounds) + 1
    assert np.mean(regrets) < 0.5 * (max(means) - min(means)) / 2 * n_rounds  # far below uniform play


# Bins


def test_bins_are_independent_and_chosen_by_the_nearest_center() -> None:
    centers = 0.5 * (EDGES[1:] + EDGES[:-1])
    for context in np.linspace(-0.149, 0.649, 41):
        policy = BinnedBandit(lambda i: TsallisINF(3, seed=i), EDGES)
        policy.select(context)
        policy.update(10)
        used = [int(inner.counts_.sum()) for inner in policy.policies_]
        assert used.index(1) == np.abs(centers - context).argmin()
        assert sum(used) == 1


def test_bins_accept_a_factory_with_and_without_argument() -> None:
    assert len(BinnedBandit(lambda: TsallisINF(3, seed=0), EDGES).policies_) == 5
    seeds: list[int] = []
    BinnedBandit(lambda i: seeds.append(i) or TsallisINF(3), EDGES)  # type: ignore[func-returns-value]
    assert seeds == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="increasing"):
        BinnedBandit(lambda: TsallisINF(3), [0.0, 0.0])


# What all policies share


def test_select_and_update_must_alternate(make: Callable[[int], Policy]) -> None:
    policy = make(0)
    with pytest.raises(RuntimeError, match="without a select"):
        policy.update(5)
    assert 0 <= policy.select(0.1) < 4
    with pytest.raises(RuntimeError, match="without an update"):
        policy.select(0.1)
    policy.update(5)
    with pytest.raises(RuntimeError, match="without a select"):
        policy.update(5)


@pytest.mark.parametrize("cost", [0, -1, np.nan, np.inf])
def test_costs_must_be_positive_and_finite(make: Callable[[int], Policy], cost: float) -> None:
    policy = make(0)
    policy.select(0.1)
    with pytest.raises(ValueError, match="loss must be a finite number above 0"):
        policy.update(cost)
    policy.update(3)  # the choice still waits for its cost


def test_same_seed_same_actions_and_valid_distributions(make: Callable[[int], Policy]) -> None:
    table, contexts = noisy_table(120)
    first, second = (replay(table, make(1), contexts)["actions"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    policy = make(2)
    for t in range(50):
        arm = policy.select(contexts[t])
        assert isinstance(arm, int)
        assert policy.probabilities_.shape == (4,)
        assert policy.probabilities_.sum() == pytest.approx(1, abs=1e-9)
        assert (policy.probabilities_ >= 0).all()
        assert policy.probabilities_[arm] > 0
        policy.update(table[t, arm])
    assert policy.counts_.sum() == 50


def test_another_seed_gives_other_actions() -> None:
    table, contexts = noisy_table(120)
    for name in ADAPTIVE:
        runs = [replay(table, POLICIES[name](seed), contexts)["actions"].tolist() for seed in (1, 2)]
        assert runs[0] != runs[1], name


def test_policies_see_only_the_cost_of_the_arm_they_played(make: Callable[[int], Policy]) -> None:
    table, contexts = noisy_table(100)
    actions = replay(table, make(4), contexts)["actions"]
    poisoned = np.full(table.shape, 1e9)
    poisoned[np.arange(100), actions] = table[np.arange(100), actions]
    np.testing.assert_array_equal(replay(poisoned, make(4), contexts)["actions"], actions)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_policies_find_the_cheapest_arm(name: str) -> None:
    table, contexts = noisy_table(600)
    cost = np.mean([replay(table, POLICIES[name](seed), contexts)["costs"][300:].mean() for seed in range(3)])
    uniform, best = table[300:].mean(), table[300:].mean(axis=0).min()
    assert cost < best + 0.75 * (uniform - best)


@pytest.mark.parametrize("name", ["BinnedBandit", "ChebCB", "GPThompson"])
@pytest.mark.parametrize("context", [None, np.nan, np.inf])
def test_contextual_policies_need_a_finite_context(name: str, context: float | None) -> None:
    with pytest.raises((TypeError, ValueError), match="context must be a finite number"):
        POLICIES[name](0).select(context)


@pytest.mark.parametrize("name", ["BinnedBandit", "ChebCB", "GPThompson"])
def test_contexts_outside_are_clipped_with_a_warning(name: str) -> None:
    outside, inside = POLICIES[name](7), POLICIES[name](7)
    with pytest.warns(UserWarning, match="was clipped") as caught:
        arm = outside.select(-3.0)
    assert caught[0].filename == __file__
    assert arm == inside.select(-0.15)


# Rivals


def test_ucb_follows_its_formula() -> None:
    ucb = UCB1(3, seed=0)
    for _ in range(3):
        ucb.update([10, 12, 30][ucb.select()])
    # After one trial each all widths are equal: the smallest mean is next.
    assert ucb.select() == 0
    ucb.update(10)
    bound = np.array([10, 12, 30]) - 15.5 * np.sqrt(2 * np.log(5) / np.array([2, 1, 1]))
    assert ucb.select() == bound.argmin() == 1


def test_epsilon_greedy_explores_at_its_rate() -> None:
    policy = EpsilonGreedy(4, seed=0, exploration=0.8)
    for _ in range(16):
        policy.update([9, 7, 5, 8][policy.select()])
    policy.select()
    epsilon = 0.8 / np.sqrt(17)
    np.testing.assert_allclose(policy.probabilities_, epsilon / 4 + (1 - epsilon) * np.eye(4)[2])


def test_forgetting_policies_follow_a_change() -> None:
    table = np.concatenate([np.tile([10, 60], (1500, 1)), np.tile([60, 10], (1500, 1))])
    late = {}
    for name, policy in {
        "plain": TsallisINF(2, seed=0),
        "restart": RestartedBandit(lambda k: TsallisINF(2, seed=k), 750),
    }.items():
        late[name] = replay(table, policy)["costs"][1500:2500].mean()
    assert late["restart"] < late["plain"]


def test_restarts_happen_every_period() -> None:
    copies: list[int] = []
    policy = RestartedBandit(lambda k: copies.append(k) or TsallisINF(2, seed=k), 10)  # type: ignore[func-returns-value]
    replay(np.ones((35, 2)) * 5, policy)
    assert copies == [0, 1, 2, 3]
    assert policy.policy_.counts_.sum() == 5


def test_gp_posterior_equals_scikit_learn() -> None:
    grid = np.array([1.0, 1.3, 1.6])
    policy = GPThompson(grid, (0.0, 2.0), seed=0, lengths=(0.25, 0.5), noise=0.2)
    rng, points, values = np.random.default_rng(0), [], []
    for _ in range(25):
        context = float(rng.uniform(0, 2))
        arm = policy.select(context)
        cost = float(20 + 10 * context + 5 * arm)
        policy.update(cost)
        points.append([context, grid[arm]]), values.append(np.log(cost))
    peer = GaussianProcessRegressor(RBF([0.5, 0.3]), alpha=0.04, optimizer=None)
    peer.fit(points, np.array(values) - np.mean(values))
    mean, covariance = peer.predict(np.column_stack([np.full(3, 0.7), grid]), return_cov=True)
    ours = policy.posterior(0.7)
    np.testing.assert_allclose(ours[0], mean + np.mean(values), atol=1e-8)
    np.testing.assert_allclose(ours[1], covariance, atol=1e-8)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TsallisINF(0), "n_arms"),
        (lambda: FixedArm(3, 3), "arm must be an integer at least 0 and at most 2"),
        (lambda: EpsilonGreedy(3, exploration=-1.0), "exploration"),
        (lambda: UCB1(3, width=-1.0), "width"),
        (lambda: RestartedBandit(lambda: TsallisINF(3), 0), "period"),
        (lambda: GPThompson([], RANGE), "grid must"),
        (lambda: GPThompson([1.0], RANGE, noise=0.0), "noise"),
    ],
)
def test_rivals_refuse_bad_arguments(build: Callable[[], Policy], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# What a difference in the last digit may not do


def test_near_ties_go_to_the_first() -> None:
    assert first_minimum(np.array([5.0, 3.0, 3.0 - 1e-13, 4.0])) == 1
    assert first_minimum(np.array([5.0, 3.0, 3.0 - 1e-6, 4.0])) == 2
    assert first_minimum(np.zeros(4)) == 0


@pytest.mark.parametrize("name", ["TsallisINF", "BinnedBandit", "ChebCB", "EpsilonGreedy", "UCB1"])
def test_last_digits_do_not_change_a_trajectory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another CPU would: every power, every fit and every feature is off by some 1e-15."""
    table, contexts = noisy_table(800)
    actions = replay(table, POLICIES[name](3), contexts)["actions"]
    wiggle = np.random.default_rng(0)

    def off(function):
        return lambda *a, **k: function(*a, **k) * (1 + 1e-15 * wiggle.uniform(-1, 1))

    monkeypatch.setattr(bandits, "tsallis_probabilities", off(bandits.tsallis_probabilities))
    monkeypatch.setattr(chebcb, "_least_squares", off(chebcb._least_squares))
    monkeypatch.setattr(ChebCB, "features", off(ChebCB.features))
    np.testing.assert_array_equal(replay(table, POLICIES[name](3), contexts)["actions"], actions)


# Costs in seconds, refused costs, resuming


@pytest.mark.parametrize(
    "make", [lambda s: TsallisINF(3, seed=s, offset=0.0), lambda s: ChebCB(3, 3, RANGE, seed=s, offset=0.0)]
)
def test_costs_in_seconds_are_learned_whatever_their_unit(make: Callable[[int], Policy]) -> None:
    rng = np.random.default_rng(0)
    table, contexts = np.array([0.05, 0.02, 0.1]) * rng.uniform(0.9, 1.1, (900, 3)), rng.uniform(-0.1, 0.4, 900)
    for unit in (1.0, 2.0**-20):  # a power of two changes no digit
        shares = [np.mean(replay(unit * table, make(s), contexts)["actions"][450:] == 1) for s in range(3)]
        assert min(shares) > 0.6
    first, second = (replay(unit * table, make(0), contexts)["actions"] for unit in (1.0, 2.0**-20))
    np.testing.assert_array_equal(first[3:].mean() > 0, second[3:].mean() > 0)


def test_costs_below_the_offset_are_refused_and_the_choice_waits(make: Callable[[int], Policy]) -> None:
    policy = make(0)
    policy.select(0.1)
    if isinstance(policy, TsallisINF | ChebCB | BinnedBandit | RestartedBandit):
        with pytest.raises(ValueError, match="loss must be at least 1, this policy's offset"):
            policy.update(0.02)
    policy.update(5)
    assert policy.counts_.sum() == 1


def test_a_pickled_policy_goes_on_as_the_original(make: Callable[[int], Policy]) -> None:
    table, contexts = noisy_table(120)
    policy = make(5)
    replay(table[:60], policy, contexts[:60])
    copied = copy.deepcopy(policy) if isinstance(policy, RestartedBandit) else pickle.loads(pickle.dumps(policy))
    first, second = (replay(table[60:], p, contexts[60:])["actions"] for p in (policy, copied))
    np.testing.assert_array_equal(first, second)
