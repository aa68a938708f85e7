"""Learning to actively learn: complexity, exact losses, the exact game, gradients of both players, training, attacks."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from lib.online.learned_active_learning import (
    MAPO,
    BanditProblem,
    Episodes,
    Lattice,
    QueryPolicy,
    TablePolicy,
    best_arm,
    complexity,
    draw_class,
    instance_scores,
    learn_robust,
    policy_surrogate,
    project,
    rollout,
    solve_game,
    thresholds,
    worst_case,
)
from lib.online.learned_active_learning.hardness import outward
from lib.online.learned_active_learning.policy import most_fitting

GRID = np.array(list(itertools.product([-0.8, -0.4, -0.1, 0.1, 0.4, 0.8], repeat=3)))


@pytest.fixture(scope="module")
def small():
    """Three points on a line, five questions, the grid of instances and their complexities."""
    problem = thresholds(3)
    grid = GRID[~problem.tied(GRID)]
    return problem, Lattice(problem, 5), grid, complexity(grid, problem)[0]


# ----------------------------------------------------------------------------------------------------------- problem


def test_thresholds_and_arms():
    assert thresholds(3).Z.tolist() == [[1, 1, 1], [-1, 1, 1], [-1, -1, 1], [-1, -1, -1]]
    assert best_arm(2).Z.tolist() == [[1, 0], [0, 1]]
    assert best_arm(2).loss == "regret"
    assert best_arm(2).losses([[0.3, -0.2]]).tolist() == [[0.0, 0.5]]
    assert thresholds(1).losses([[0.3]]).tolist() == [[0.0, 1.0]]


def test_most_fitting_is_the_brute_force_maximum():
    problem, sums = thresholds(4), np.random.default_rng(0).integers(-3, 4, (50, 4)).astype(float)
    for row, told in zip(sums, most_fitting(problem, sums), strict=True):
        values = [float(z @ row) for z in problem.Z]
        best = [v == max(values) for v in values]
        assert np.allclose(told, np.array(best) / sum(best))


def test_bad_problems_are_refused():
    for Z, text in (([[1.0, 0.0], [1.0, 0.0]], "equal"), ([[1.0, 2.0]], "two"), ([[np.nan, 0], [0, 1]], "NaN")):
        with pytest.raises(ValueError, match=text):
            BanditProblem(Z)
    with pytest.raises(ValueError, match="loss must be one of"):
        best_arm(2, "other")
    with pytest.raises(ValueError, match="ties"):
        best_arm(2).instances("thetas", [[0.5, 0.5]])
    with pytest.raises(ValueError, match="at most 1"):
        best_arm(2).instances("thetas", [[1.5, 0.5]])


# -------------------------------------------------------------------------------------------------------- complexity


def test_complexity_has_its_closed_forms():
    assert np.isclose(complexity([[0.7, 0.2]], best_arm(2))[0], 4 / 0.25)  # both arms half of the time
    assert np.isclose(complexity([[-0.3]], thresholds(1))[0], 1 / 0.09)
    rho, plan = complexity([[0.5, 0.5]], thresholds(2), tol=1e-6)
    # The best is the first; rivals differ in point 1 (gap 2 * 0.5), and in both (gap 2). One query of point 1 does it all
    # for the first rival, and the second is cheaper.
    assert np.isclose(rho[0], min(max(4 / a, (4 / a + 4 / (1 - a)) / 4) for a in np.linspace(0.001, 0.999, 200_001)), rtol=1e-4)
    assert np.isclose(plan.sum(), 1)


@pytest.mark.parametrize("problem", [thresholds(4), best_arm(4), BanditProblem(np.random.default_rng(3).normal(size=(5, 4)))])
def test_complexity_is_the_minimum_that_slsqp_finds(problem):
    thetas = np.random.default_rng(1).uniform(-0.9, 0.9, (4, 4))
    rho, plan = complexity(thetas, problem, tol=1e-4)
    for theta, value, mine in zip(thetas, rho, plan, strict=True):
        best = problem.Z[problem.best([theta])[0]]
        rivals = [z for z in problem.Z if not np.array_equal(z, best)]

        def worst(plan, best=best, rivals=rivals, theta=theta):
            return np.array([((best - z) ** 2 / plan).sum() / ((best - z) @ theta) ** 2 for z in rivals])

        assert np.isclose(worst(np.maximum(mine, 1e-12)).max(), value, rtol=1e-6)
        found = minimize(
            lambda x: x[-1], np.append(np.full(4, 0.25), worst(np.full(4, 0.25)).max()), method="SLSQP",
            constraints=[{"type": "eq", "fun": lambda x: x[:4].sum() - 1},
                         {"type": "ineq", "fun": lambda x: x[-1] - worst(x[:4])}],
            bounds=[(1e-4, 1)] * 4 + [(0, None)], options={"maxiter": 500, "ftol": 1e-9},
        )  # fmt: skip
        assert value <= found.fun * 1.003
        assert value >= found.fun * 0.99


def test_complexity_scales_and_ties_are_infinite():
    thetas = np.random.default_rng(2).uniform(-0.5, 0.5, (6, 3))
    rho = complexity(thetas, thresholds(3), tol=1e-5)[0]
    assert np.allclose(complexity(thetas * 1.7, thresholds(3), tol=1e-5)[0], rho / 1.7**2, rtol=1e-4)
    assert np.allclose(complexity(thetas * 1e-120, thresholds(3), tol=1e-5)[0], rho * 1e240, rtol=1e-4)
    rho, plan = complexity([[0.3, 0.3], [0.0, 0.0]], best_arm(2))
    assert np.isinf(rho).all()
    assert np.allclose(plan, 0.5)
    with pytest.raises(ValueError, match="max_iter"):
        complexity(thetas, thresholds(3), tol=1e-6, max_iter=2)


def test_projection_makes_instances_easy_enough_and_leaves_easy_ones():
    problem = thresholds(4)
    thetas = np.random.default_rng(4).uniform(-0.6, 0.6, (300, 4))
    before = complexity(thetas, problem)[0]
    hard = thetas[(before > 20) & (before < 60)]
    moved = project(hard, 20.0, problem)
    assert (complexity(moved, problem, tol=1e-4)[0] <= 1.01 * 20).all()
    assert np.abs(moved).max() <= 0.98
    assert np.array_equal(moved > 0, hard > 0)
    small = hard * np.sqrt(before[(before > 20) & (before < 60)] / 25)[:, None] * 0.5  # scaling up meets no bound
    ratio = project(small, 40.0, problem) / small
    assert np.allclose(ratio, ratio[:, :1])
    assert np.allclose(complexity(project(small, 40.0, problem), problem, tol=1e-4)[0], 40, rtol=0.005)
    easy = thetas[before < 15]
    assert np.array_equal(project(easy, 20.0, problem), easy)
    with pytest.raises(ValueError, match="cannot be scaled"):
        project([[0.5, -0.45, 0.5, -0.3]], 2.0, problem)


def test_outward_is_the_gradient_of_the_complexity():
    rows = np.random.default_rng(7).uniform(-0.8, 0.8, (5, 3))
    _, normal = outward(rows, thresholds(3))
    for theta, way in zip(rows, normal, strict=True):
        moves = [theta + h * e for e in np.eye(3) for h in (1e-3, -1e-3)]
        told = complexity(moves, thresholds(3), tol=1e-6, max_iter=200_000)[0].reshape(3, 2)
        slope = told[:, 0] - told[:, 1]
        assert slope @ way / np.linalg.norm(slope) > 0.995


def test_drawn_instances_lie_on_the_boundary():
    thetas = draw_class(thresholds(4), 12.0, 60, seed=0)
    assert np.allclose(complexity(thetas, thresholds(4), tol=1e-4)[0], 12, rtol=0.005)
    assert len(set(thresholds(4).best(thetas))) == 5
    assert np.array_equal(thetas, draw_class(thresholds(4), 12.0, 60, seed=0))
    with pytest.raises(ValueError, match="hardly any"):
        draw_class(thresholds(4), 0.5, 3, seed=0)


# ---------------------------------------------------------------------------------------------- all histories at once


def by_hand(policy, problem, theta, budget):
    """Expected loss by walking through every history, one by one."""
    costs = problem.losses([theta])[0]

    def value(counts, sums, left):
        queries, decisions = policy.probabilities(counts[None], sums[None])
        if left == 0:
            return float(decisions[0] @ costs)
        total = 0.0
        for i, y in itertools.product(range(problem.n_queries), (-1, 1)):
            step = np.eye(problem.n_queries)[i]
            total += queries[0, i] * (1 + y * theta[i]) / 2 * value(counts + step, sums + y * step, left - 1)
        return total

    zero = np.zeros(problem.n_queries)
    return value(zero, zero, budget)


@pytest.mark.parametrize("problem", [thresholds(2), best_arm(3)])
def test_exact_losses_are_those_of_a_walk_through_all_histories(problem):
    lattice, rng = Lattice(problem, 3), np.random.default_rng(0)
    thetas = rng.uniform(-0.9, 0.9, (3, problem.n_queries))
    policy = QueryPolicy(problem, 3, hidden=5, seed=1, split=0.7)
    for chosen in (policy, TablePolicy(lattice)):
        assert np.allclose(lattice.losses(chosen, thetas), [by_hand(chosen, problem, t, 3) for t in thetas], atol=1e-12)


def test_uniform_queries_at_two_points_and_two_answers():
    # theta = (a, b), both positive, hypothesis 0 is best. Worked out over the four pairs of queries.
    a, b, problem = 0.5, 0.25, thresholds(2)
    loss = Lattice(problem, 2).losses(TablePolicy(Lattice(problem, 2)), [[a, b]])[0]
    wrong = 0.0
    for i, j in itertools.product((0, 1), repeat=2):
        for y, z in itertools.product((-1, 1), repeat=2):
            p = (1 + y * (a, b)[i]) / 2 * (1 + z * (a, b)[j]) / 2 / 4
            sums = np.zeros(2)
            sums[i] += y
            sums[j] += z
            wrong += p * (1 - most_fitting(problem, sums[None])[0, 0])
    assert np.isclose(loss, wrong)


def test_counts_know_their_neighbors():
    lattice = Lattice(thresholds(2), 4)
    for t, (after, before) in enumerate(zip(lattice.children, lattice.parents, strict=True)):
        here, there = lattice.split[lattice.layer(t)], lattice.split[lattice.layer(t + 1)]
        for j in range(4):
            assert np.array_equal(there[after[:, j]], here + np.eye(4, dtype=int)[j])
            real = before[:, j] < len(here)
            assert np.array_equal(here[before[real, j]] + np.eye(4, dtype=int)[j], there[real])
            assert (there[~real, j] == 0).all()
    with pytest.raises(ValueError, match="at most 200000"):
        Lattice(thresholds(6), 12)


def test_loss_vanishes_with_many_answers():
    losses = [Lattice(thresholds(1), T).losses(TablePolicy(Lattice(thresholds(1), T)), [[0.5]])[0] for T in (5, 25, 101)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 1e-6


def test_sampled_episodes_have_the_exact_mean():
    problem, lattice = thresholds(3), Lattice(thresholds(3), 4)
    policy, theta = QueryPolicy(problem, 4, 6, seed=3), np.array([0.5, -0.3, 0.8])
    thetas = np.tile(theta, (20_000, 1))
    played = rollout(policy, problem, thetas, 4, seed=0)
    losses = played.losses(problem.losses(thetas))
    assert abs(losses.mean() - lattice.losses(policy, [theta])[0]) < 4 * losses.std() / np.sqrt(len(losses))
    assert np.array_equal(played.counts[-1].sum(1), np.full(20_000, 4))
    rows = np.arange(20_000)
    again = np.zeros((20_000, 3))
    for t in range(4):
        again[rows, played.actions[t]] += played.answers[t]
    assert np.array_equal(again, played.sums[-1])
    # Every query's answers have the mean theta_i.
    means = played.sums[-1].sum(0) / played.counts[-1].sum(0)
    assert np.allclose(means, theta, atol=0.03)


def test_given_answers_are_used():
    problem, answers = thresholds(2), np.array([[1.0, -1.0]])
    played = rollout(QueryPolicy(problem, 5, 4, seed=0), problem, [[0.1, 0.2]], 5, seed=0, answers=answers)
    assert np.array_equal(played.sums[-1], played.counts[-1] * answers)
    with pytest.raises(ValueError, match="-1 or 1"):
        rollout(QueryPolicy(problem, 5, 4, seed=0), problem, [[0.1, 0.2]], 5, seed=0, answers=[[0.5, 1.0]])


# ------------------------------------------------------------------------------------------------------- gradients


def every_history(policy, problem, theta, budget):
    """All histories as episodes, and their probabilities."""
    n, actions, answers = problem.n_queries, [], []
    for word in itertools.product(itertools.product(range(n), (-1.0, 1.0)), repeat=budget):
        actions.append([i for i, _ in word])
        answers.append([y for _, y in word])
    acts, told = np.array(actions).T, np.array(answers).T
    B = acts.shape[1]
    counts, sums, p = np.zeros((budget + 1, B, n)), np.zeros((budget + 1, B, n)), np.ones(B)
    for t in range(budget):
        step = np.eye(n)[acts[t]]
        p *= policy.probabilities(counts[t], sums[t])[0][np.arange(B), acts[t]] * (1 + told[t] * theta[acts[t]]) / 2
        counts[t + 1], sums[t + 1] = counts[t] + step, sums[t] + step * told[t][:, None]
    return Episodes(counts, sums, acts, told, policy.probabilities(counts[-1], sums[-1])[1]), p


@pytest.mark.parametrize("problem", [thresholds(2), best_arm(2)])
def test_both_estimates_have_the_exact_gradient_as_their_mean(problem):
    theta, lattice = np.array([0.45, -0.2]), Lattice(problem, 2)
    policy = QueryPolicy(problem, 2, 4, seed=2, split=0.5)
    played, p = every_history(policy, problem, theta, 2)
    assert np.isclose(p.sum(), 1)
    B = len(p)
    costs = np.tile(problem.losses([theta]), (B, 1))
    # Policy: weigh each history by its probability, by repeating the surrogate one history at a time.
    mean = [torch.zeros_like(w) for w in policy.parameters()]
    for b in range(B):
        one = Episodes(played.counts[:, [b]], played.sums[:, [b]], played.actions[:, [b]], played.answers[:, [b]],
                       played.decisions[[b]])  # fmt: skip
        value, _ = policy_surrogate(policy, one, costs[[b]], baseline=0.3)
        for total, slope in zip(mean, torch.autograd.grad(value, list(policy.parameters())), strict=True):
            total += p[b] * slope
    variable = torch.tensor(theta[None], requires_grad=True)
    queries, decisions = policy(torch.as_tensor(lattice.counts), torch.as_tensor(lattice.sums))
    told = lattice.outcomes(queries.softmax(1), decisions[lattice.layer(2)].softmax(1), lattice.likelihood(variable))
    loss = (told * torch.as_tensor(problem.losses([theta]))).sum()
    exact = torch.autograd.grad(loss, list(policy.parameters()), retain_graph=True)
    for a, b in zip(mean, exact, strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    # Instance: score times centered loss.
    scores = instance_scores(played, np.tile(theta, (B, 1)))
    losses = played.losses(costs)
    slope = (p[:, None] * (losses - 0.3)[:, None] * scores).sum(0)
    assert np.allclose(slope, torch.autograd.grad(loss, variable)[0].numpy()[0], atol=1e-12)


# ------------------------------------------------------------------------------------------------------- exact game


def by_linear_program(lattice, thetas, offsets):
    """The value of the game from its sequence form."""
    problem, n, K = lattice.problem, lattice.problem.n_queries, lattice.problem.n_hypotheses
    first, S = lattice.starts[-2], lattice.starts[-1]
    size = first * n + (S - first) * K + 1
    rows, right = np.zeros((S, size)), np.zeros(S)
    right[0] = 1
    for s in range(S):
        columns = (
            slice(s * n, (s + 1) * n) if s < first else slice(first * n + (s - first) * K, first * n + (s - first + 1) * K)
        )
        rows[s, columns] = 1
    for t, after in enumerate(lattice.children):
        for s, kinds in enumerate(after):
            for j, child in enumerate(kinds):
                rows[lattice.starts[t + 1] + child, (lattice.starts[t] + s) * n + j % n] -= 1
    likelihood, costs = lattice.likelihood(thetas).numpy(), problem.losses(thetas)
    limits = np.zeros((len(thetas), size))
    for m in range(len(thetas)):
        limits[m, first * n : -1] = (likelihood[:, m][:, None] * costs[m]).ravel()
    limits[:, -1] = -1
    goal = np.zeros(size)
    goal[-1] = 1
    found = linprog(goal, limits, offsets, rows, right, bounds=[(0, None)] * (size - 1) + [(None, None)])
    return found.fun


@pytest.mark.parametrize("problem", [thresholds(2), best_arm(2)])
def test_game_brackets_the_linear_program(problem):
    lattice, thetas = Lattice(problem, 3), draw_class(problem, 8.0, 12, seed=1)
    for offsets in (np.zeros(12), np.linspace(-0.1, 0.2, 12)):
        value = by_linear_program(lattice, thetas, offsets)
        game = solve_game(lattice, thetas, offsets, rounds=400)
        assert game.lower <= value + 1e-9
        assert value <= game.upper + 1e-9
        assert game.upper - game.lower < 0.02
        assert np.isclose((lattice.losses(game.policy, thetas) - offsets).max(), game.upper, atol=1e-9)
        assert np.isclose(game.weights.sum(), 1)


def test_game_has_the_known_values(small):
    _, lattice, grid, rho = small
    assert len(grid) == 196
    for r, members, low, high in ((5.75, 20, 0.154, 0.161), (33.7, 98, 0.478, 0.486), (149, 176, 0.611, 0.621)):
        assert (rho <= r).sum() == members
        game = solve_game(lattice, grid[rho <= r], rounds=250)
        assert low < game.lower <= game.upper < high


def test_levels_are_nested_and_relabeling_changes_nothing(small):
    _, lattice, grid, rho = small
    games = [solve_game(lattice, grid[rho <= r], rounds=120) for r in (5.75, 10, 33.7)]
    assert games[0].lower <= games[1].upper
    assert games[1].lower <= games[2].upper
    mirrored = solve_game(lattice, -grid[rho <= 10][:, ::-1], rounds=120)
    assert mirrored.lower <= games[1].upper
    assert games[1].lower <= mirrored.upper


def test_game_stops_at_its_tolerance():
    lattice, thetas = Lattice(thresholds(2), 2), draw_class(thresholds(2), 8.0, 5, seed=1)
    game = solve_game(lattice, thetas, rounds=2000, tol=0.01)
    assert 0 <= game.upper - game.lower <= 0.01
    with pytest.raises(ValueError, match="offsets"):
        solve_game(lattice, thetas, offsets=[0.0, 0.1])


# ---------------------------------------------------------------------------------------------------------- training

SETTINGS = {"iterations": 12, "hidden": 4, "seed": 0}


def test_defaults_are_as_written():
    mapo = MAPO(thresholds(1), 3, [[0.5], [-0.5]])
    told = (mapo.lr, mapo.rate, mapo.forget, mapo.mix, mapo.move, mapo.every, mapo.batch, mapo.iterations)
    assert told == (0.02, 0.1, 0.01, 0.1, 0.0, 10, 512, 400)


def test_weights_follow_the_excess():
    mapo = MAPO(thresholds(1), 3, [[0.5], [-0.5], [0.9]], offsets=[0.0, 0.1, 0.0], rate=0.3, forget=0.25, mix=0.2, **SETTINGS)
    assert np.allclose(mapo.weights, 1 / 3)
    mapo.logits[:] = (0.5, -0.5, 0.0)
    before = mapo.logits.copy()
    mapo.run(1)
    excess = mapo.losses - mapo.offsets
    assert np.allclose(mapo.logits, 0.75 * before + 0.3 * (excess - excess.mean()))
    soft = np.exp(mapo.logits)
    assert np.allclose(mapo.weights, 0.8 * soft / soft.sum() + 0.2 / 3)
    assert np.isclose(mapo.history[-1], excess.max())


def test_policy_step_is_adam_on_the_weighted_loss():
    thetas, offsets = np.array([[0.5], [-0.4]]), np.array([0.0, 0.1])
    mapo = MAPO(thresholds(1), 3, thetas, offsets=offsets, lr=0.05, **SETTINGS)
    twin = copy.deepcopy(mapo)
    mapo.step()
    lattice = Lattice(thresholds(1), 3)
    queries, decisions = twin.policy(torch.as_tensor(lattice.counts), torch.as_tensor(lattice.sums))
    told = lattice.outcomes(queries.softmax(1), decisions[lattice.layer(3)].softmax(1), lattice.likelihood(thetas))
    value = torch.as_tensor(twin.weights) @ (told * torch.as_tensor(thresholds(1).losses(thetas))).sum(1)
    optimizer = torch.optim.Adam(twin.policy.parameters(), lr=0.05)
    value.backward()
    torch.nn.utils.clip_grad_norm_(twin.policy.parameters(), 1.0)
    optimizer.step()
    for a, b in zip(mapo.policy.parameters(), twin.policy.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_training_comes_near_the_certified_bound():
    problem, lattice = thresholds(2), Lattice(thresholds(2), 4)
    thetas = draw_class(problem, 8.0, 20, seed=0)
    game = solve_game(lattice, thetas, rounds=300)
    mapo = MAPO(problem, 4, thetas, 8.0, iterations=120, rate=0.3, hidden=16, seed=0).run()
    losses = lattice.losses(mapo.average(), thetas)
    assert game.lower - 1e-9 <= losses.max() <= game.upper + 0.09
    assert np.allclose(losses, mapo.instance_losses())
    uniform = lattice.losses(TablePolicy(lattice), thetas).max()
    assert losses.max() < uniform - 0.02


def test_average_has_the_average_losses():
    problem, thetas = thresholds(2), draw_class(thresholds(2), 8.0, 6, seed=0)
    mapo = MAPO(problem, 3, thetas, 8.0, iterations=8, hidden=4, seed=0)
    seen = []
    mapo.run(callback=lambda intermediate_result: seen.append(mapo.losses.copy()) and None)
    lattice = Lattice(problem, 3)
    assert np.allclose(lattice.losses(mapo.average(), thetas), np.mean(seen[4:], axis=0))
    with pytest.raises(ValueError, match="average"):
        MAPO(problem, 3, thetas, 8.0, **SETTINGS).run(2).average()


def test_moving_instances_stay_in_range_and_class_and_get_harder():
    problem, lattice = thresholds(2), Lattice(thresholds(2), 4)
    thetas = draw_class(problem, 8.0, 20, seed=0)
    mapo = MAPO(problem, 4, thetas, 8.0, move=0.2, every=1, movers=0.5, lr=1e-9, iterations=10, hidden=4, seed=0).run()
    moved = (mapo.thetas != thetas).any(1)
    assert moved.sum() == 10
    assert np.abs(mapo.thetas).max() <= 0.98
    assert (complexity(mapo.thetas, problem, tol=1e-4)[0] <= 8.0 * 1.01).all()
    gain = lattice.losses(mapo.policy, mapo.thetas) - lattice.losses(mapo.policy, thetas)
    assert gain[moved].mean() > 0.01


def test_sampled_training_lowers_the_loss_and_agrees_with_the_exact_one():
    problem, lattice = thresholds(1), Lattice(thresholds(1), 5)
    thetas = np.array([[0.6], [-0.6]])
    mapo = MAPO(problem, 5, thetas, 4.0, rollouts="sampled", batch=256, iterations=60, hidden=4, seed=0, move=0.01, every=5)
    mapo.run()
    assert np.allclose(mapo.losses, lattice.losses(mapo.policy, mapo.thetas), atol=0.08)
    assert mapo.answer() is mapo.policy
    assert (complexity(mapo.thetas, problem)[0] <= 4.05).all()
    with pytest.raises(ValueError, match="exact rollouts"):
        mapo.average()


@pytest.mark.parametrize("rollouts", ["exact", "sampled"])
def test_a_run_in_pieces_is_one_run(rollouts):
    problem, thetas = thresholds(2), draw_class(thresholds(2), 8.0, 6, seed=0)
    options = SETTINGS | {"rollouts": rollouts, "batch": 32, "move": 0.05, "every": 2}
    once = MAPO(problem, 3, thetas, 8.0, **options).run()
    part = MAPO(problem, 3, thetas, 8.0, **options).run(5)
    for copied in (pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
        copied.run()
        assert np.array_equal(copied.weights, once.weights)
        assert np.array_equal(copied.thetas, once.thetas)
        assert all(map(torch.equal, copied.policy.parameters(), once.policy.parameters()))
    with pytest.raises(ValueError, match="ended"):
        once.step()


def test_callback_stops_as_in_scipy():
    mapo = MAPO(thresholds(1), 3, [[0.5], [-0.5]], **SETTINGS)
    assert len(mapo.run(callback=lambda intermediate_result: intermediate_result.nit == 3).history) == 3

    def stop(x):
        x[:] = 0.0  # a copy
        raise StopIteration

    assert len(mapo.run(callback=stop).history) == 4
    assert mapo.thetas.ravel().tolist() == [0.5, -0.5]


def test_bad_training_is_refused():
    for options, text in (
        ({"lr": -1.0}, "lr"),
        ({"rate": np.nan}, "rate"),
        ({"offsets": [0.0]}, "offsets"),
        ({"limits": [1.0, -1.0]}, "limits"),
        ({"rollouts": "some"}, "rollouts"),
        ({"policy": QueryPolicy(thresholds(2), 3, 4, seed=0)}, "this problem"),
    ):
        with pytest.raises(ValueError, match=text):
            MAPO(thresholds(1), 3, [[0.5], [-0.5]], **options)
    with pytest.raises(TypeError, match="policy"):
        MAPO(thresholds(1), 3, [[0.5]], policy="none")


def test_workflow_uses_the_levels_values_as_offsets():
    made = learn_robust(thresholds(1), 3, [4.0, 16.0], particles=4, seed=0, iterations=30, hidden=4)
    assert made.level_of.tolist() == [0] * 4 + [1] * 4
    assert np.allclose(complexity(made.thetas, thresholds(1))[0], np.repeat([4, 16], 4), rtol=0.01)
    for k, run in enumerate(made.runs[:2]):
        assert len(run.thetas) == 4 * (k + 1)
        assert made.values[k] == run.instance_losses().max()
        assert not run.offsets.any()
    assert np.array_equal(made.runs[-1].offsets, made.values[made.level_of])
    excess = made.runs[-1].instance_losses() - made.runs[-1].offsets
    assert np.allclose(made.gaps, [excess[:4].max(), excess[4:].max()])
    with pytest.raises(ValueError, match="rise"):
        learn_robust(thresholds(1), 3, [4.0, 4.0], particles=4)


# ------------------------------------------------------------------------------------------------------------ attack


def test_attack_finds_at_least_what_many_draws_find():
    problem, lattice = thresholds(2), Lattice(thresholds(2), 4)
    policy = TablePolicy(lattice)
    draws = np.concatenate([draw_class(problem, r, 1000, seed=5) for r in (4.0, 6.0, 8.0)])
    found = worst_case(policy, lattice, 8.0, starts=40, steps=25, seed=0)
    assert found.loss >= lattice.losses(policy, draws).max() - 1e-3
    assert np.isclose(lattice.losses(policy, found.theta[None])[0], found.loss)
    assert (np.diff(found.history) >= 0).all()
    assert complexity(found.theta, problem, tol=1e-4)[0][0] <= 8.0 * 1.01
    assert len(found.losses) == 40


def test_attack_on_regret_climbs():
    lattice = Lattice(best_arm(2), 4)
    found = worst_case(TablePolicy(lattice), lattice, 30.0, starts=10, steps=20, seed=0)
    assert found.history[-1] > found.history[0]
    assert np.isclose(lattice.losses(TablePolicy(lattice), found.theta[None])[0], found.loss)


# ------------------------------------------------------------------------------------------------------------ policy


def test_policy_is_what_its_docstring_says():
    problem, T = thresholds(3), 4
    policy = QueryPolicy(problem, T, 6, seed=0, factor=0.7, split=2.0)
    counts, sums = torch.tensor([[1.0, 2, 0]]), torch.tensor([[1.0, 0, 0]])
    scores = sums.double() @ torch.as_tensor(problem.Z).T
    x = torch.cat([counts.double() / 2, sums.double() / 2, scores / 2, torch.tensor([[0.75]], dtype=torch.float64)], 1)
    for layer in policy.layers[:-1]:
        x = torch.tanh(layer(x))
    own = policy.layers[-1](x)
    even = torch.softmax(0.5 * scores, 1) @ torch.as_tensor(problem.Z)
    queries, decisions = policy(counts, sums)
    assert torch.allclose(queries, own[:, :3] - 2 * even.abs())
    assert torch.allclose(decisions, own[:, 3:] + 0.7 * scores)
    again = policy.probabilities(counts.numpy(), sums.numpy())
    assert np.allclose(again[0], queries.softmax(1).detach().numpy())
    assert np.allclose(again[1], decisions.softmax(1).detach().numpy())


def test_table_policy_looks_up_every_count():
    lattice, rng = Lattice(thresholds(2), 3), np.random.default_rng(0)
    queries = rng.dirichlet([1, 1], lattice.starts[-1])
    decisions = rng.dirichlet([1, 1, 1], lattice.starts[-1] - lattice.starts[-2])
    table = TablePolicy(lattice, queries, decisions)
    order = rng.permutation(lattice.starts[-1])
    told = table.probabilities(lattice.counts[order], lattice.sums[order])
    assert np.allclose(told[0], queries[order])
    assert np.allclose(table.probabilities(lattice.counts, lattice.sums)[0], queries)
    assert np.allclose(told[1][order >= lattice.starts[-2]], decisions[order[order >= lattice.starts[-2]] - lattice.starts[-2]])
    with pytest.raises(ValueError, match="at most 3"):
        table.probabilities([[4, 0]], [[0, 0]])
    with pytest.raises(ValueError, match="sum to 1"):
        TablePolicy(lattice, 2 * queries)
