"""The study of learning to actively learn: rivals, questions about digits, kinds of readers, protocols."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lib import data
from lib.online.learned_active_learning import BanditProblem, Lattice, best_arm, complexity, thresholds, worst_case
from lib.online.learned_active_learning.study import (
    Halving,
    KnownAnswers,
    SoftBinarySearch,
    TopTwo,
    Uniform,
    all_episodes,
    contest,
    digit_questions,
    heuristics,
    largest_gaps,
    worst_losses,
)
from lib.online.learned_active_learning.study.jester import kinds_of_readers, reader_kinds


def test_soft_binary_search_by_hand():
    problem, sums = thresholds(3), np.array([[0.0, 2.0, 0.0]])
    posterior = np.exp(0.5 * np.log(0.9 / 0.1) * sums @ problem.Z.T)
    posterior /= posterior.sum()
    queries, decisions = SoftBinarySearch(problem, 0.1).probabilities(np.abs(sums), sums)
    assert queries[0].argmax() == np.abs(posterior @ problem.Z).argmin() == 0
    assert np.allclose(decisions[0], [0.5, 0.5, 0, 0])
    # Its posterior is Bayes' for answers that are wrong with probability 0.1.
    likelihood = np.prod(np.where(problem.Z[:, [1, 1]] == 1, 0.9, 0.1), axis=1)
    assert np.allclose(posterior[0], likelihood / likelihood.sum())
    for noise in (0.0, 0.5, 0.7):
        with pytest.raises(ValueError, match="noise"):
            SoftBinarySearch(problem, noise)


def test_known_answers_have_bayes_posterior_and_most_information():
    yes = np.array([[0.9, 0.5, 0.6], [0.2, 0.5, 0.3], [0.2, 0.4, 0.9]])
    known, counts, sums = KnownAnswers(yes), np.array([[2.0, 1, 0]]), np.array([[0.0, 1, 0]])
    likelihood = yes[:, 0] * (1 - yes[:, 0]) * yes[:, 1]
    assert np.allclose(known.posterior(counts, sums)[0], likelihood / likelihood.sum())
    p = known.posterior(counts, sums)[0]

    def entropy(q):
        return -(q * np.log(q) + (1 - q) * np.log(1 - q))

    gain = [entropy(p @ yes[:, i]) - p @ entropy(yes[:, i]) for i in range(3)]
    assert known.probabilities(counts, sums)[0][0].argmax() == np.argmax(gain)
    assert known.probabilities(counts, sums)[1][0].argmax() == p.argmax()
    split = KnownAnswers(yes, "split").probabilities(counts, sums)[0][0]
    assert split.argmax() == np.abs(p @ yes - 0.5).argmin()
    with pytest.raises(ValueError, match="above 0"):
        KnownAnswers([[0.0, 1.0]])


def test_knowing_the_answers_is_better_than_not():
    game = digit_questions(5, 6)
    lattice = Lattice(game.problem, 4)
    known = lattice.losses(KnownAnswers((1 + game.thetas) / 2), game.thetas).mean()
    assert known < min(lattice.losses(p, game.thetas).mean() for p in heuristics(game.problem, lattice.budget).values())


def test_digits_are_their_own_best_hypotheses():
    game = digit_questions(5, 6)
    assert game.problem.best(game.thetas).tolist() == list(range(6))
    assert np.isfinite(complexity(game.thetas, game.problem)[0]).all()
    X, y = data.digits()
    X, y = X[y < 6], y[y < 6]
    assert np.array_equal(game.images, np.where(X[1::2][:, game.pixels] >= 8, 1, -1))
    assert np.array_equal(game.labels, y[1::2])
    share = (X[::2][y[::2] == 3][:, game.pixels[0]] >= 8).sum()
    assert np.isclose(game.thetas[3, 0], 2 * (share + 1) / ((y[::2] == 3).sum() + 2) - 1)
    with pytest.raises(ValueError, match="apart"):
        digit_questions(3, 10)


def test_kinds_come_from_one_half_of_the_readers_and_answers_from_the_other():
    rng = np.random.default_rng(0)
    taste = np.where(rng.random((2, 8)) < 0.5, -3.0, 3.0)
    taste[0, 0], taste[1, 0] = 3.0, -3.0
    fit, test = (taste[np.arange(60) % 2] + rng.normal(size=(60, 8)) for _ in range(2))
    jokes = kinds_of_readers(fit, test, 3, 2, 0)
    assert jokes.thetas.shape[1] == jokes.problem.n_queries == 3
    assert np.abs(jokes.thetas).max() < 1
    differs = np.flatnonzero(taste[0] != taste[1])
    assert len(differs) >= 3
    assert (np.abs(jokes.thetas) > 0.8).all()


def test_jester_says_how_to_provide_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LIB_DATA_DIR", str(tmp_path))
    with pytest.raises(data.DataUnavailableError, match=r"jester5k\.npz"):
        reader_kinds(5)


def test_worst_losses_are_of_nested_classes_and_attacks():
    lattice = Lattice(thresholds(2), 3)
    found = worst_losses({"a": Uniform(thresholds(2))}, lattice, [4.0, 16.0], fresh=20, starts=4, steps=4, seed=3)["a"]
    assert found[0] <= found[1]
    alone = worst_case(Uniform(thresholds(2)), lattice, 16.0, 4, 4, seed=np.random.default_rng([3, 1, 1])).loss
    assert found[1] >= alone
    more = worst_losses({"a": Uniform(thresholds(2))}, lattice, [4.0, 16.0], 20, 4, 4, 3, [np.array([[0.01, 0.02]])] * 2)["a"]
    assert more[0] == pytest.approx(lattice.losses(Uniform(thresholds(2)), [[0.01, 0.02]])[0])
    assert largest_gaps({"a": found}, found - [0.1, 0.2]) == {"a": pytest.approx(0.2)}


def test_contest_holds_together():
    lattice, levels = Lattice(thresholds(2), 3), [4.0, 16.0]
    held = contest(lattice, levels, 5, 6, 10, seed=1, fresh=5, starts=2, steps=1)
    assert held.values[0] == held.worst["specialist 4"][0]
    assert held.values[1] == held.worst["specialist 16"][1]
    assert held.gaps["robust"] == pytest.approx((held.worst["robust"] - held.values).max())
    assert [game.lower <= game.upper for game in held.games] == [True, True]
    again = contest(lattice, levels, 5, 6, 10, seed=1, fresh=5, starts=2, steps=1)
    assert held.gaps == again.gaps


def test_all_episodes_sum_to_one():
    problem = BanditProblem([[1, 1], [-1, 1], [-1, -1]])
    played, p = all_episodes(SoftBinarySearch(problem, 0.2), problem, [0.3, -0.5], 3)
    assert len(p) == 64
    assert p.sum() == pytest.approx(1)
    lattice = Lattice(problem, 3)
    loss = (p * played.losses(np.repeat(problem.losses([[0.3, -0.5]]), 64, axis=0))).sum()
    assert loss == pytest.approx(lattice.losses(SoftBinarySearch(problem, 0.2), [[0.3, -0.5]])[0])


def test_contest_has_rivals_that_are_as_long_trained():
    held = contest(Lattice(thresholds(2), 3), [4.0, 16.0], 5, 6, 10, seed=1, fresh=5, starts=2, steps=1)
    assert {"no offsets", "average"} <= set(held.gaps)
    assert not np.array_equal(held.worst["no offsets"], held.worst["robust"])


def test_top_two_asks_where_leader_and_challenger_differ():
    problem, noise, sums = thresholds(2), 0.2, np.array([[1.0, -2.0]])
    weights = np.exp(0.5 * np.log(0.8 / 0.2) * (problem.Z @ sums[0]))
    p = weights / weights.sum()
    expected = np.zeros(2)
    for k, j in itertools.permutations(range(3), 2):
        apart = np.abs(problem.Z[k] - problem.Z[j])
        expected += p[k] * p[j] / (1 - p[k]) * apart / apart.sum()
    queries, decisions = TopTwo(problem, noise).probabilities(np.abs(sums), sums)
    assert np.allclose(queries[0], expected)
    assert decisions.tolist() == [[0.0, 0.0, 1.0]]


def test_top_two_shares_queries_between_the_two_best_arms():
    sums = np.array([[30.0, 30.0, -30.0]])
    queries, _ = TopTwo(best_arm(3), 0.1).probabilities(np.full((1, 3), 40), sums)
    assert np.allclose(queries[0], [0.5, 0.5, 0], atol=1e-6)


def test_halving_has_rounds_of_fewer_candidates_and_asks_what_was_asked_least():
    halving = Halving(best_arm(4), 4)  # two rounds of two queries
    assert halving.probabilities(np.zeros((1, 4)), np.zeros((1, 4)))[0].tolist() == [[0.25] * 4]
    counts = np.array([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])
    sums = np.array([[1.0, 0, 0, 0], [1, -1, 0, 0], [1, 1, 0, 0]])
    queries, _ = halving.probabilities(counts, sums)
    assert np.allclose(queries[0], [0, 1 / 3, 1 / 3, 1 / 3])  # round 0: all are candidates
    assert np.allclose(queries[1], [0, 0, 0.5, 0.5])  # round 1: arm 1 has left, arms 2 and 3 tie and stay
    assert np.allclose(queries[2], [0.5, 0.5, 0, 0])  # the two that answered well


@pytest.mark.parametrize("rival", [TopTwo(thresholds(4), 0.3), Halving(thresholds(4), 6)])
def test_rivals_find_the_threshold_when_answers_are_nearly_certain(rival):
    theta = np.array([[-0.98, -0.98, 0.98, 0.98]])
    lattice = Lattice(thresholds(4), 6)
    queries, decisions = rival.probabilities(lattice.counts, lattice.sums)
    assert np.allclose(queries.sum(1), 1)
    assert np.allclose(decisions.sum(1), 1)
    assert lattice.losses(rival, theta)[0] < 0.15 < lattice.losses(Uniform(thresholds(4)), theta)[0]


def test_rivals_do_not_depend_on_the_order_of_hypotheses():
    problem, order = thresholds(3), [2, 0, 3, 1]
    other = BanditProblem(problem.Z[order])
    lattice = Lattice(problem, 3)
    for make in (lambda p: TopTwo(p, 0.2), lambda p: Halving(p, 3)):
        found = [make(p).probabilities(lattice.counts, lattice.sums) for p in (problem, other)]
        assert np.allclose(found[0][0], found[1][0])
        assert np.allclose(found[0][1][:, order], found[1][1])
