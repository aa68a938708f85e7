"""Constrained RLHF without a policy: the exact bandit, multipliers, thresholds and scores."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lib.policies import constrained_rlhf as cr


def bandit(seed=0, n=2, m=50, beta=0.2):
    rng = np.random.default_rng(seed)
    return cr.TiltedBandit(rng.dirichlet(np.ones(m)), rng.random((n, m)), beta)


# ------------------------------------------------------------------------------------------------------- the exact bandit


@pytest.mark.parametrize("seed", range(5))
def test_the_dual_solution_meets_its_thresholds_and_is_the_primal_solution(seed):
    problem = bandit(seed, m=12)
    theta = problem.values([0.0, 0.0]) + np.array([0.08, -0.03])
    found = problem.solve(theta=theta)
    np.testing.assert_allclose(found.values, theta, atol=1e-8)

    def cost(pi):
        return float(pi @ np.log(pi / problem.pi0))

    primal = minimize(
        cost, problem.pi0, jac=lambda pi: np.log(pi / problem.pi0) + 1, method="SLSQP", bounds=[(1e-12, 1)] * 12,
        constraints=[
            {"type": "eq", "fun": lambda pi: pi.sum() - 1},
            {"type": "eq", "fun": lambda pi: problem.rewards @ pi - theta},
        ],
        options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    assert primal.success
    np.testing.assert_allclose(found.policy, primal.x, atol=1e-6)
    assert found.kl == pytest.approx(cost(primal.x), abs=1e-8)
    assert found.dual == pytest.approx(-problem.beta * found.kl, abs=1e-10)  # strong duality


def test_values_rise_with_multipliers_at_the_rate_of_the_covariance():
    problem, mu, h = bandit(1), np.array([0.3, -0.2]), 1e-6
    columns = [(problem.values(mu + h * e) - problem.values(mu - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(np.stack(columns, 1), problem.covariance(mu) / problem.beta, rtol=1e-6, atol=1e-8)
    pi = problem.policy(mu)
    variance = pi @ problem.rewards[0] ** 2 - (pi @ problem.rewards[0]) ** 2
    assert problem.covariance(mu)[0, 0] == pytest.approx(variance)


def test_the_tilted_policy_is_the_best_one_for_its_multipliers():
    problem, mu = bandit(2, m=6), np.array([0.5, 0.4])
    found, rng = problem.solve(mu=mu), np.random.default_rng(0)
    by_hand = problem.pi0 * np.exp(mu @ problem.rewards / problem.beta)
    np.testing.assert_allclose(found.policy, by_hand / by_hand.sum())
    assert found.dual == pytest.approx(problem.beta * np.log(by_hand.sum()))
    assert found.kl == pytest.approx(found.policy @ np.log(found.policy / problem.pi0))

    def worth(pi):
        return mu @ problem.rewards @ pi - problem.beta * (pi @ np.log(pi / problem.pi0))

    assert worth(found.policy) == pytest.approx(found.dual)
    assert all(worth(rng.dirichlet(np.ones(6))) < worth(found.policy) for _ in range(200))


def test_the_dual_is_convex_with_the_violation_as_gradient():
    problem, theta, mu, h = bandit(3), np.array([0.5, 0.6]), np.array([0.1, 0.3]), 1e-5
    slopes = [(problem._dual(mu + h * e, theta) - problem._dual(mu - h * e, theta)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(slopes, problem.values(mu) - theta, atol=1e-8)


@pytest.mark.parametrize("shift", [(0.05, 0.05), (0.05, -0.2), (-0.1, -0.1), (-0.2, 0.1)])
def test_inequalities_are_active_or_their_multipliers_zero(shift):
    problem = bandit(4)
    theta = problem.values([0.0, 0.0]) + np.array(shift)
    found = problem.solve(theta=theta, kind="inequality")
    slack = found.values - theta
    assert (found.mu >= 0).all()
    assert (slack > -1e-9).all()
    np.testing.assert_allclose(found.mu * slack, 0, atol=1e-9)
    assert found.kl <= problem.solve(theta=theta).kl + 1e-12


@pytest.mark.parametrize("reward", [0.999, 0.001])
def test_thresholds_near_the_border_are_reached(reward):
    problem = cr.TiltedBandit([0.7, 0.2, 0.1], [[0.0, 0.5, 1.0]], beta=0.01)
    assert problem.solve(theta=[reward]).values[0] == pytest.approx(reward, abs=1e-10)


@pytest.mark.parametrize("beta", [0.02, 0.2, 2.0])
def test_newtons_method_needs_few_steps(beta, monkeypatch):
    problem = bandit(5, beta=beta)
    theta, asked, covariance = problem.values([0.2 * beta, 0.1 * beta]), [], problem._covariance
    monkeypatch.setattr(problem, "_covariance", lambda pi: asked.append(pi) or covariance(pi))
    np.testing.assert_allclose(problem.solve(theta=theta).mu, [0.2 * beta, 0.1 * beta], rtol=1e-8)
    assert len(asked) <= 6


def test_thresholds_that_no_policy_has_are_refused():
    problem = cr.TiltedBandit([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]])
    for theta in ([0.5, 0.9], [1.5, -0.5]):
        with pytest.raises(ValueError, match="theta"):
            problem.solve(theta=theta)
    with pytest.raises(ValueError, match="reachable"):
        problem.solve(theta=[0.8, 0.8], kind="inequality")
    with pytest.raises(ValueError, match="not both"):
        problem.solve(mu=[0.0, 0.0], theta=[0.5, 0.5])
    with pytest.raises(ValueError, match="sum to 1"):
        cr.TiltedBandit([0.5, 0.4], [[0.0, 1.0]])


def test_redundant_rewards_are_no_obstacle():
    problem = cr.TiltedBandit([0.5, 0.3, 0.2], [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    np.testing.assert_allclose(problem.solve(theta=[1.2, 1.2]).values, 1.2, atol=1e-10)


# ----------------------------------------------------------------------------------------------------------- multipliers


@pytest.mark.parametrize("kind", ["inequality", "equality"])
def test_mixed_weights_sum_to_the_number_of_rewards(kind):
    multipliers, rng = cr.LagrangeMultipliers([0.1, 0.2, 0.3], kind), np.random.default_rng(0)
    for _ in range(5):
        with torch.no_grad():
            multipliers.mu.copy_(torch.from_numpy(3 * rng.standard_normal(3)))
        first, rest = multipliers.coefficients()
        assert float(first + rest.sum()) == pytest.approx(3)
        adv0, advs = torch.from_numpy(rng.standard_normal((4, 5))), torch.from_numpy(rng.standard_normal((4, 5, 3)))
        by_hand = (3 - rest.sum()) * adv0 + sum(rest[i] * advs[..., i] for i in range(3))
        torch.testing.assert_close(multipliers.mix(adv0, advs), by_hand)


def test_mixtures_of_upper_and_unsquashed_multipliers_are_lagrangians():
    adv0, advs = torch.ones(1), torch.tensor([[10.0, 100.0]])
    upper = cr.LagrangeMultipliers([0.0, 0.0], "upper", squash=False)  # start at 0.5
    assert upper.mix(adv0, advs).item() == pytest.approx(1 + 0.5 * 110)
    plain = cr.LagrangeMultipliers([0.0, 0.0], "inequality", squash=False)
    with torch.no_grad():
        plain.mu.copy_(torch.tensor([2.0, 3.0]))
    assert plain.mix(adv0, advs).item() == pytest.approx(321)
    squashed = cr.LagrangeMultipliers([0.0, 0.0], "upper")
    with torch.no_grad():
        squashed.mu.copy_(torch.tensor([20.0, -20.0]))
    assert squashed.mix(adv0, advs).item() == pytest.approx(101, abs=1e-5)


def test_starts():
    for kind, center in (("inequality", 0.5), ("equality", 0.0), ("upper", 0.5)):
        weights = cr.LagrangeMultipliers([0.0] * 3, kind, seed=1).weights()
        assert len(set(weights.tolist())) == 1
        assert abs(float(weights[0]) - center) < 0.05
        assert float(weights[0]) != center
    assert cr.LagrangeMultipliers([0.0], squash=False).weights().tolist() == [0.5]


def test_multipliers_rise_below_their_thresholds_and_fall_above():
    low, high = 0.2, 0.8
    for kind in ("inequality", "equality", "upper"):
        multipliers = cr.LagrangeMultipliers([0.5, 0.5], kind, lr=1.0, max_grad=np.inf)
        start = multipliers.weights()
        for _ in range(200):
            multipliers.update([low, high])
        up, down = multipliers.weights() - start
        assert (up < 0 < down) if kind == "upper" else (up > 0 > down)
        settled = multipliers.weights()
        if kind == "equality":
            assert settled[1] < -0.8
        if kind == "inequality":
            assert settled[1] < 0.1
        if kind == "upper":
            assert settled[0] < 0.1
            assert multipliers.coefficients()[1][1] < 0.1  # above its threshold, the reward is switched off


@pytest.mark.parametrize("kind", ["inequality", "equality", "upper"])
@pytest.mark.parametrize("squash", [True, False])
def test_an_update_is_a_step_of_torchs_descent(kind, squash):
    multipliers = cr.LagrangeMultipliers([0.3, 0.6], kind, lr=0.7, momentum=0.4, squash=squash, max_grad=0.5)
    mu = multipliers.mu.detach().clone().requires_grad_()
    optimizer = torch.optim.SGD([mu], lr=0.7, momentum=0.4)
    lowest = []
    for values in ([0.5, 0.2], [3.0, 0.7], [-9.0, 5.0], [-9.0, 5.0], [-9.0, 5.0], [0.2, 0.65]):
        found = {"inequality": torch.sigmoid, "upper": torch.sigmoid, "equality": torch.tanh}[kind](mu) if squash else mu
        sign = -1 if kind == "upper" else 1
        optimizer.zero_grad()
        (sign * found * (torch.tensor(values, dtype=torch.float64) - multipliers.thresholds)).sum().backward()
        torch.nn.utils.clip_grad_norm_([mu], 0.5)
        optimizer.step()
        if not squash and kind != "equality":
            with torch.no_grad():
                mu.clamp_(min=0)
        multipliers.update(values)
        torch.testing.assert_close(multipliers.mu.detach(), mu.detach(), rtol=1e-5, atol=1e-5)  # torch adds 1e-6 to the norm
        lowest.append(float(mu.detach().min()))
    assert (min(lowest) == 0) == (not squash and kind != "equality")


def test_the_gradient_of_all_multipliers_together_is_clipped():
    multipliers = cr.LagrangeMultipliers([0.0, 0.0], "equality", lr=1.0, momentum=0.0, squash=False, max_grad=0.5)
    multipliers.update([3.0, 4.0])
    np.testing.assert_allclose(multipliers.mu.detach(), 0.5 - 0.5 * np.array([0.6, 0.8]))
    tight = cr.LagrangeMultipliers([0.0, 0.0], "equality", lr=1.0, momentum=0.0, squash=False, max_grad=0.01)
    tight.update([0.03, 0.04])  # of norm 0.05
    np.testing.assert_allclose(tight.mu.detach(), 0.5 - 0.01 * np.array([0.6, 0.8]))
    multipliers.update([0.3, 0.4])  # of norm 0.5: not clipped
    np.testing.assert_allclose(multipliers.mu.detach(), [0.5 - 0.3 - 0.3, 0.5 - 0.4 - 0.4], atol=1e-12)


def test_multipliers_resume_from_their_state():
    first, second = (cr.LagrangeMultipliers([0.3, 0.6], "equality", seed=seed) for seed in (0, 1))
    first.update([0.5, 0.1])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    third = pickle.loads(pickle.dumps(first))
    for multipliers in (first, second, third):
        multipliers.update([0.4, 0.2])
    assert first.mu.equal(second.mu)
    assert first.mu.equal(third.mu)
    first.set_thresholds([0.1, 0.2])
    assert first.thresholds.tolist() == [0.1, 0.2]


def test_multipliers_refuse_what_does_not_fit():
    multipliers = cr.LagrangeMultipliers([0.3, 0.6])
    with pytest.raises(ValueError, match="values"):
        multipliers.update([0.1])
    with pytest.raises(ValueError, match="advs"):
        multipliers.mix(torch.zeros(2), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="kind"):
        cr.LagrangeMultipliers([0.3], "sigmoid")
    with pytest.raises(ValueError, match="thresholds"):
        multipliers.set_thresholds([0.1, 0.2, 0.3])


def test_the_controller_of_the_divergence():
    controller = cr.KLController(0.2, target=0.1)
    assert controller.step(0.2) == pytest.approx(0.2 * 1.02)
    assert controller.step(0.1) == pytest.approx(0.2 * 1.02)
    assert cr.KLController(0.2, target=0.1).step(0.11) == pytest.approx(0.2 * 1.01)
    assert cr.KLController(0.2, target=0.1).step(-5.0) == pytest.approx(0.2 * 0.98)
    assert cr.KLController(0.2).step(0.9) == 0.2
    with pytest.raises(ValueError, match="below 1"):
        cr.KLController(rate=5.0, limit=0.2)


# ------------------------------------------------------------------------------------------------------------ thresholds


def bowl(t):
    return -float((t[0] - 0.3) ** 2 + 2 * (t[1] - 0.7) ** 2 + (t[0] - 0.3) * (t[1] - 0.7))


def rosenbrock(t):
    return -float((1 - t[0]) ** 2 + 100 * (t[1] - t[0] ** 2) ** 2)


def steps(t):
    """A bowl, rounded: with ties."""
    return float(np.round(8 * bowl(t)) / 8)


START = np.array([[0.0, 0.0], [0.4, 0.0], [0.0, 0.4]])


@pytest.mark.parametrize("score", [bowl, rosenbrock, steps])
@pytest.mark.parametrize("start", [START, START * [-1, 3], START + 1.2, 3 * START - 2])
def test_the_simplex_search_is_scipys(score, start):
    ours = cr.nelder_mead_thresholds(score, start, tol=0.0, cache_tol=0.0, max_iter=60, max_evals=10_000)
    theirs = minimize(
        lambda t: -score(t), start[0], method="Nelder-Mead",
        options={"initial_simplex": start, "maxiter": ours.nit + 1, "xatol": 0.0, "fatol": 0.0, "return_all": True},
    )  # fmt: skip
    assert -ours.fun == pytest.approx(theirs.fun, rel=1e-9, abs=1e-15)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-9)
    np.testing.assert_allclose(ours.path[-1], theirs.final_simplex[0], atol=1e-9)
    assert ours.nfev <= theirs.nfev


def test_the_search_finds_the_best_thresholds():
    found = cr.nelder_mead_thresholds(bowl, START, tol=1e-9, cache_tol=0.0, max_iter=100)
    assert found.success
    np.testing.assert_allclose(found.x, [0.3, 0.7], atol=1e-3)
    assert found.scores.max() == found.fun == bowl(found.x)
    assert (found.scores == [bowl(t) for t in found.evaluated]).all()


def test_points_that_agree_are_evaluated_once():
    asked = []

    def score(t):
        asked.append(t)
        return bowl(t)

    found = cr.nelder_mead_thresholds(score, START, tol=0.0, cache_tol=0.05, max_iter=40)
    gaps = [np.abs(a - b).max() for i, a in enumerate(asked) for b in asked[:i]]
    assert min(gaps) > 0.05
    assert found.reused > 0
    assert found.nfev == len(asked) == len(found.evaluated)


def test_a_search_that_ends_early_says_so():
    few = cr.nelder_mead_thresholds(bowl, START, max_evals=4, tol=0.0)
    assert (few.success, few.nfev, few.message) == (False, 4, "the evaluations are used up")
    assert cr.nelder_mead_thresholds(bowl, START, max_evals=2).nit == 0
    short = cr.nelder_mead_thresholds(bowl, START, tol=0.0, max_iter=3)
    assert (short.success, short.nit, len(short.path)) == (False, 3, 4)
    flat = cr.nelder_mead_thresholds(lambda t: 1.0, START)
    assert (flat.success, flat.nit) == (True, 0)
    with pytest.raises(ValueError, match="evaluate"):
        cr.nelder_mead_thresholds(lambda t: np.nan, START)
    with pytest.raises(ValueError, match="flat"):
        cr.nelder_mead_thresholds(bowl, [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])


@pytest.mark.parametrize(
    ("reflected", "contracted", "shrinks"), [(0.5, 0.5, False), (0.5, 0.4, True), (-1.0, 0.0, True), (-1.0, 0.1, False)]
)
def test_ties_of_contractions(reflected, contracted, shrinks):
    """An outside contraction is taken if it is as good as the reflection, an inside one only if it beats the worst."""
    answers = iter([2.0, 1.0, 0.0, reflected, contracted, 1.5, 1.4])
    found = cr.nelder_mead_thresholds(lambda t: next(answers), START, max_iter=1, tol=0.0, cache_tol=0.0)
    assert found.nfev == (7 if shrinks else 5)


def test_inside_contractions_always_is_another_search():
    inside = cr.nelder_mead_thresholds(
        rosenbrock, START, tol=1e-9, cache_tol=0, max_iter=200, max_evals=999, contraction="inside"
    )
    both = cr.nelder_mead_thresholds(rosenbrock, START, tol=1e-9, cache_tol=0, max_iter=200, max_evals=999)
    assert not np.array_equal(inside.evaluated[:30], both.evaluated[:30])
    np.testing.assert_allclose(inside.x, [1, 1], atol=1e-2)


def test_the_proxy_point_of_one_reward():
    seen = np.linspace(0.2, 0.9, 60)
    point = cr.find_proxy_point(seen, 1 - (seen - 0.55) ** 2, degree=3, bandwidth=0.0, ridge=0.0)
    assert point.theta == pytest.approx([0.55], abs=1e-3)
    assert point.score == pytest.approx(1.0)
    assert point.inside
    np.testing.assert_allclose(point.predict([0.3, 0.4]), [1 - 0.25**2, 1 - 0.15**2])
    rising = cr.find_proxy_point(seen, seen, degree=2, bandwidth=0.0)
    assert not rising.inside
    assert rising.theta == pytest.approx([0.9])


def test_the_joint_proxy_point():
    rng = np.random.default_rng(0)
    seen = rng.random((400, 2)) * [1.0, 10.0]
    score = -((seen[:, 0] - 0.4) ** 2) - ((seen[:, 1] - 6.0) / 10) ** 2 + 0.01 * rng.standard_normal(400)
    point = cr.find_proxy_point(seen, score)
    np.testing.assert_allclose(point.theta / [1, 10], [0.4, 0.6], atol=0.06)
    assert point.inside


def test_a_surface_is_not_trusted_where_there_are_no_data():
    along = np.linspace(0, 1, 80)
    seen = np.stack([along, along + 0.02 * np.sin(40 * along)], 1)
    point = cr.find_proxy_point(seen, 1 - (along - 0.5) ** 2, degree=4, bandwidth=0.1)
    assert np.ptp(point.theta) < 0.25
    np.testing.assert_allclose(point.theta, 0.5, atol=0.2)


def test_proxy_points_refuse_what_they_cannot_fit():
    for values, match in (([0.1, 0.1, 0.1], "change"), ([0.1, 0.2], "at least 3"), (np.eye(4), "columns")):
        with pytest.raises(ValueError, match=match):
            cr.find_proxy_point(values, np.arange(float(len(values))))


# --------------------------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_meteor_of_equal_texts(n):
    assert cr.meteor(list(range(n)), list(range(n))) == pytest.approx(1 - 0.5 / n**3)


def test_meteor_by_hand():
    assert cr.meteor(["a", "b"], ["c", "d"]) == 0
    assert cr.meteor([], ["a"]) == cr.meteor(["a"], []) == 0
    # 4 matches in 2 chunks; precision 1, recall 4/5.
    mean = 1 * 0.8 / (0.9 * 1 + 0.1 * 0.8)
    assert cr.meteor(["a", "b", "c", "d"], ["a", "b", "x", "c", "d"]) == pytest.approx(mean * (1 - 0.5 * (2 / 4) ** 3))
    # The other way round: precision 4/5, recall 1.
    mean = 0.8 / (0.9 * 0.8 + 0.1 * 1)
    assert cr.meteor(["a", "b", "x", "c", "d"], ["a", "b", "c", "d"]) == pytest.approx(mean * (1 - 0.5 * (2 / 4) ** 3))
    # Words that stand in another order: one chunk each.
    assert cr.meteor(["b", "a"], ["a", "b"]) == pytest.approx(0.5)
    # A repeated word counts as often as the reference has it.
    mean = (1 / 3) * 1 / (0.9 / 3 + 0.1)
    assert cr.meteor(["a", "a", "a"], ["a"]) == pytest.approx(mean * 0.5)
    # The longest run is taken first: [a] then [a b] would be a chunk more.
    assert cr.meteor(["a", "a", "b"], ["a", "b", "a"]) == pytest.approx(1 - 0.5 * (2 / 3) ** 3)
    assert cr.meteor(["a", "b"], ["a", "b"], gamma=0.0) == 1
    assert cr.meteor(["a", "x"], ["a", "b", "c"], alpha=0.5, gamma=0.0) == pytest.approx(0.4)


def test_bleu_chrf_and_rouge_by_hand():
    # 3 of 4 words, 2 of 3 pairs, brevity exp(1 - 5/4).
    ours, theirs = [["a", "b", "c", "x"]], [["a", "b", "c", "d", "e"]]
    assert cr.bleu(ours, theirs) == pytest.approx(np.sqrt(3 / 4 * 2 / 3) * np.exp(1 - 5 / 4))
    assert cr.bleu(ours, theirs, order=1) == pytest.approx(3 / 4 * np.exp(1 - 5 / 4))
    assert cr.bleu([["a", "b", "c", "d", "e", "f"]], theirs, order=1) == pytest.approx(5 / 6)  # no bonus for length
    assert cr.bleu([[]], theirs) == 0
    assert cr.rouge(ours, theirs) == pytest.approx(2 * 2 / (3 + 4))
    assert cr.rouge([*ours, ["a"]], [*theirs, ["a"]]) == pytest.approx(2 / 7)  # no pairs of words: 0
    # Characters: 1-grams 2 of 3 and 2 of 2, 2-grams 1 of 2 and 1 of 1.
    one, two = 5 * (2 / 3) / (4 * (2 / 3) + 1), 5 * 0.5 / (4 * 0.5 + 1)
    assert cr.chrf(["ab c"], ["a b"], order=2) == pytest.approx((one + two) / 2)
    assert cr.chrf(["xyz"], ["abc"]) == 0
    assert cr.distinct_ngrams([[1, 2, 3, 4], [1, 2, 3], [1]]) == (2, 1)


def test_scores_agree_with_libraries():
    sacrebleu = pytest.importorskip("sacrebleu")
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    rng = np.random.default_rng(0)
    words = np.array(["lord", "said", "unto", "the", "house", "king"])
    ours, theirs = ([list(rng.choice(words, rng.integers(3, 12))) for _ in range(40)] for _ in range(2))
    plain, wanted = [" ".join(t) for t in ours], [" ".join(t) for t in theirs]
    bleu = sacrebleu.BLEU(max_ngram_order=2, tokenize="none", smooth_method="none").corpus_score(plain, [wanted])
    assert cr.bleu(ours, theirs) == pytest.approx(bleu.score / 100)
    assert cr.chrf(plain, wanted) == pytest.approx(sacrebleu.CHRF().corpus_score(plain, [wanted]).score / 100)
    scorer = rouge_scorer.RougeScorer(["rouge2"])
    found = [scorer.score(b, a)["rouge2"].fmeasure for a, b in zip(plain, wanted, strict=True)]
    assert cr.rouge(ours, theirs) == pytest.approx(np.mean(found))


def test_scores_refuse_what_is_no_text():
    with pytest.raises(TypeError, match="response"):
        cr.meteor("a b", ["a"])
    with pytest.raises(ValueError, match="as many"):
        cr.bleu([["a"]], [])
    with pytest.raises(TypeError, match="strings"):
        cr.chrf([["a"]], [["a"]])
    with pytest.raises(TypeError, match="responses"):
        cr.distinct_ngrams("a b c")


def test_module_says_what_it_implements():
    assert "TODO" not in cr.__doc__
