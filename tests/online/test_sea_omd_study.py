"""Streams with exact noise and drift, rivals, real streams and races of the chapter on optimistic online mirror descent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from lib.online.sea_omd import Ball, OptimisticEnsemble, OptimisticOMD, Simplex, play
from lib.online.sea_omd.study import (
    OFTRL,
    OGD,
    ONS,
    Ablated,
    AdaGradNorm,
    Ader,
    CoinBetting,
    LogisticStream,
    RandomOrder,
    SquaresStream,
    Stream,
    against_any,
    arrival,
    contestants,
    dynamic_race,
    largest_on_ball,
    race,
    signed_rows,
    stream,
    tuned,
)
from lib.online.sea_omd.study.streams import KINDS

RNG = np.random.default_rng


def points_in_ball(rng, n, d, radius=1.0):
    x = rng.normal(size=(n, d))
    return radius * x / np.linalg.norm(x, axis=1, keepdims=True) * rng.uniform(0, 1, (n, 1)) ** (1 / d)


# --------------------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_what_is_drawn(kind):
    s = stream(kind, 6, 20000, dim=2, sigma=0.5, jumps=2, fraction=0.5, seed=1)
    x = np.array([1.0, 0.0])
    drawn = np.array([s.gradient(t, x) for t in range(6)])
    assert (drawn - s.curvature * x - s.means).mean(axis=1) == pytest.approx(0.0, abs=0.02)
    power = np.mean(np.sum((drawn - s.curvature * x - s.means) ** 2, axis=-1), axis=1)
    assert power == pytest.approx(s.noise_power, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_drift_is_the_largest_change_of_the_slope(kind):
    s = stream(kind, 8, 1, dim=2, sigma=0.1, jumps=3, fraction=0.3, period=5, seed=2)
    angle = np.linspace(0, 2 * np.pi, 721)
    x = np.concatenate([np.zeros((1, 2)), np.stack([np.cos(angle), np.sin(angle)], axis=1)])
    slopes = s.curvature * x + s.means[:, 0][:, None]
    change = np.diff(np.concatenate([np.zeros((1, *x.shape)), slopes]), axis=0)
    assert s.drift == pytest.approx(np.sum(change**2, axis=-1).max(axis=1), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_at_most_G_and_those_of_the_losses(kind):
    s = stream(kind, 20, 5, dim=3, sigma=0.5, jumps=4, fraction=0.2, seed=3)
    x = points_in_ball(RNG(0), 100, 3)
    longest = max(np.linalg.norm(s.gradient(t, x[:, None]), axis=-1).max() for t in range(20))
    assert longest <= s.G
    at = np.broadcast_to(x[0], (20, 5, 3))
    for j in range(3):
        ahead, back = at + 1e-6 * np.eye(3)[j], at - 1e-6 * np.eye(3)[j]
        slope = (s.losses(ahead) - s.losses(back)) / 2e-6
        expected = s.curvature * at[..., j] + s.means[..., j]
        assert slope == pytest.approx(expected, abs=1e-8)


def test_the_streams_are_those_of_the_chapter():
    t = np.arange(40)
    assert stream("iid", 3, 1).means[:, 0, 0] == pytest.approx(0.1)
    assert stream("oscillating", 40, 1, period=10).means[:, 0, 1] == pytest.approx(np.cos(2 * np.pi * t / 10))
    assert stream("slowing", 40, 1).means[:, 0, 1] == pytest.approx(np.cos(4 * np.pi / 3 * np.sqrt(t)))
    assert stream("alternating", 4, 1).means[:, 0, 0].tolist() == [1, -1, 1, -1]
    flipped = stream("corrupted", 100, 1, fraction=0.08).means[:, 0, 0]
    assert (flipped == -1.0).sum() == 8
    assert (flipped == 0.3).sum() == 92
    drifting = stream("drifting", 40, 1, period=8)
    assert np.linalg.norm(drifting.targets[:, 0], axis=1) == pytest.approx(0.5)
    assert drifting.path == pytest.approx([39 * np.sin(np.pi / 8)])
    jumping = stream("jumping", 40, 1, jumps=4, seed=0)
    assert len(np.unique(jumping.targets[:, 0], axis=0)) == 4
    assert np.linalg.norm(jumping.targets, axis=-1) == pytest.approx(0.9)
    assert stream("iid", 3, 1, curvature=0.7).L == 0.7


def test_drawn_losses_of_the_wobbling_stream_are_not_convex():
    s = stream("wobbling", 50, 10, sigma=0.1)
    assert ((s.curvature + s.wobble).min(axis=-1) < 0).mean() > 0.9
    assert s.curvature > 0


@pytest.mark.parametrize("curvature", [0.0, 0.4, 3.0])
def test_best_losses_by_a_solver(curvature):
    rng = RNG(4)
    s = Stream(rng.normal(size=(5, 2, 3)), np.zeros((5, 2, 3)), np.zeros(5), curvature)
    inside = {"type": "ineq", "fun": lambda x: 1 - x @ x}
    for n in (1, 3, 5):
        for j in range(2):
            b = s.means[:n, j].sum(axis=0)

            def fun(x, b=b, n=n):
                return curvature * n / 2 * x @ x + b @ x

            found = minimize(fun, np.zeros(3), constraints=[inside], method="SLSQP", options={"ftol": 1e-14}).fun
            assert s.best_losses()[n - 1, j] == pytest.approx(found, abs=1e-6)


def test_regret_of_the_best_decision_is_zero():
    s = stream("corrupted", 30, 2, fraction=0.1)
    u = -s.means.sum(axis=0)[0] / np.linalg.norm(s.means.sum(axis=0)[0])
    assert s.regret(np.broadcast_to(u, (30, 2, 5)))[-1] == pytest.approx(0.0, abs=1e-12)


def test_dynamic_regret_is_the_squared_distance_to_the_targets():
    s = stream("jumping", 30, 2, jumps=3, seed=5)
    x = points_in_ball(RNG(5), 60, 5).reshape(30, 2, 5)
    assert s.dynamic_regret(x) == pytest.approx(0.5 * np.sum((x - s.targets) ** 2, axis=(0, 2)))
    with pytest.raises(ValueError, match="curvature"):
        stream("iid", 3, 1).dynamic_regret(np.zeros((3, 1, 5)))


def test_random_order_uses_each_loss_once_and_knows_what_is_left():
    pool = RNG(6).normal(size=(7, 2))
    s = RandomOrder(pool, 3, seed=0)
    drawn = s.means + s.noise
    for j in range(3):
        assert np.sort(drawn[:, j], axis=0) == pytest.approx(np.sort(pool, axis=0))
        for t in range(7):
            left = drawn[t:, j]
            assert s.means[t, j] == pytest.approx(left.mean(axis=0))
    powers = [[np.sum((drawn[t:, j] - s.means[t, j]) ** 2, axis=1).mean() for j in range(3)] for t in range(7)]
    assert s.noise_power == pytest.approx(np.mean(powers, axis=1), abs=1e-12)
    assert s.regret(np.zeros((7, 3, 2)))[-1] == pytest.approx(np.linalg.norm(pool.sum(axis=0)))


def test_largest_on_ball_by_brute_force():
    rng = RNG(7)
    for hard in (False, True):
        root = rng.normal(size=(3, 3))
        Q, q = root @ root.T, rng.normal(size=3)
        if hard:
            last = np.linalg.eigh(Q)[1][:, -1]
            q = 0.1 * (q - last * (last @ q))
        x = points_in_ball(rng, 200_000, 3, 0.7)
        x = 0.7 * x / np.linalg.norm(x, axis=1, keepdims=True)
        found = (np.einsum("ki,ij,kj->k", x, Q, x) - 2 * x @ q).max()
        exact = largest_on_ball(Q, q, 0.7)
        assert found <= exact * (1 + 1e-9)
        assert found == pytest.approx(exact, rel=1e-3)


def test_squares_know_their_constants():
    rng = RNG(8)
    rows, targets = rng.uniform(-0.5, 0.5, (40, 2)), rng.uniform(-0.5, 0.5, 40)
    s = SquaresStream(rows, targets, 30, 4, radius=0.8)
    x = np.concatenate([points_in_ball(rng, 3000, 2, 0.8), 0.8 * _circle(720)])
    g = ((x @ rows.T) - targets)[..., None] * rows
    assert np.linalg.norm(g, axis=-1).max() <= s.G * (1 + 1e-12)
    assert g.var(axis=1).sum(axis=1).max() == pytest.approx(s.noise_power[0], rel=1e-4)
    assert g.mean(axis=1) == pytest.approx(x @ s.A - s.v)
    assert 1 / np.abs(x @ rows.T - targets).max() ** 2 >= s.alpha
    at = np.full((4, 2), 0.1)
    a, b = rows[s.index[3]], targets[s.index[3]]
    assert s.gradient(3, at) == pytest.approx(((a * at).sum(axis=1) - b)[:, None] * a)
    best = minimize(lambda u: 0.5 * np.mean((rows @ u - targets) ** 2), np.zeros(2)).x
    assert s.regret(np.broadcast_to(best, (30, 4, 2)))[-1] == pytest.approx(0.0, abs=1e-8)
    assert s.drawn_regret(np.broadcast_to(best, (30, 4, 2)), best) == pytest.approx(0.0)
    moved = s.drawn_regret(np.zeros((30, 4, 2)), best)[1]
    assert moved == pytest.approx(0.5 * np.sum(targets[s.index[:, 1]] ** 2 - (rows @ best - targets)[s.index[:, 1]] ** 2))


def _circle(n):
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


# ---------------------------------------------------------------------------------------------------------------- rivals


def one_by_one(domain, step, gradients):
    x, out = domain.start, []
    for t, g in enumerate(gradients, start=1):
        out.append(x)
        x = domain.project(x - step(t, gradients[:t]) * g)
    return np.array(out)


@pytest.mark.parametrize("name", ["OGD", "constant", "AdaGrad"])
def test_gradient_descents_are_their_formulas(name):
    g, domain = RNG(9).normal(size=(20, 2)), Ball(2, 1.5)
    learner, step = {
        "OGD": (OGD(domain, 4.0, scale=0.7), lambda t, past: 0.7 * 3.0 / (4.0 * np.sqrt(t))),
        "constant": (OGD(domain, 4.0, scale=0.1, constant=True), lambda t, past: 0.1),
        "AdaGrad": (AdaGradNorm(domain, scale=0.7), lambda t, past: 0.7 * 3.0 / np.sqrt(2 * np.sum(past**2))),
    }[name]
    assert play(learner, lambda t, x: g[t], 20).decisions == pytest.approx(one_by_one(domain, step, g), abs=1e-12)


def test_oftrl_minimizes_its_objective():
    g, domain, nu = RNG(10).normal(size=(8, 2)), Ball(2), 0.5 * 4 + 2 * 4.0
    learner, total, last = OFTRL(domain, 4.0, 0.5), nu, np.zeros(2)
    for t in range(8):
        eta = 4.0 / total

        def objective(x, t=t, eta=eta, last=last):
            return (g[:t].sum(axis=0) + last) @ x + x @ x / eta

        inside = [{"type": "ineq", "fun": lambda x: 1 - x @ x}]
        found = minimize(objective, np.zeros(2), constraints=inside, method="SLSQP", options={"ftol": 1e-14}).x
        assert learner.predict() == pytest.approx(found, abs=1e-5)
        learner.update(g[t])
        total += eta * np.sum((g[t] - last) ** 2)
        last = g[t]
    assert OFTRL(domain, 4.0, 0.0).total_ == pytest.approx(2 * 2 * 4.0)


def test_ons_is_its_formula():
    g, domain = RNG(11).normal(size=(10, 2)) * 0.3, Ball(2)
    learner, x, H = ONS(domain, 1.5, 1.0, beta=0.4), np.zeros(2), np.eye(2) / (0.4 * 2.0) ** 2
    for each in g:
        assert learner.predict() == pytest.approx(x, abs=1e-12)
        learner.update(each)
        H = H + np.outer(each, each)
        x = domain.project_norm(x - np.linalg.solve(H, each) / 0.4, H)


def test_coin_betting_never_goes_broke_and_finds_the_edge():
    g = RNG(12).normal(size=(300, 2))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    learner = CoinBetting(Ball(2), 1.0)
    play(learner, lambda t, x: g[t], 300)
    assert learner.wealth_ > 0
    learner = CoinBetting(Ball(2, 0.5), 1.0)
    out = play(learner, lambda t, x: [1.0, 0.0], 50)
    assert out.decisions[-1] == pytest.approx([-0.5, 0.0])
    with pytest.raises(TypeError, match="Ball"):
        CoinBetting(Simplex(2), 1.0)


def test_coin_betting_by_hand_inside():
    g, learner = RNG(13).normal(size=(6, 2)) * 0.1, CoinBetting(Ball(2, 5.0), 1.0, scale=0.1)
    wealth, total, x = 1.0, np.zeros(2), np.zeros(2)
    for t in range(6):
        assert learner.predict() == pytest.approx(x, abs=1e-8)
        learner.update(g[t])
        wealth -= g[t] @ x
        total -= g[t]
        x = total / (t + 2) * wealth


def test_ader_is_its_formula():
    g, learner = RNG(14).normal(size=(6, 2)), Ader(Ball(2), 9.0, 1.0, 50)
    x, losses = np.zeros((len(learner.steps), 2)), np.zeros(len(learner.steps))
    rate = np.sqrt(2 / 50) / (9.0 * 2.0)
    for each in g:
        p = np.exp(-rate * losses) / np.exp(-rate * losses).sum()
        assert learner.predict() == pytest.approx(p @ x, abs=1e-13)
        learner.update(each)
        losses = losses + x @ each
        x = Ball(2).project(x - learner.steps[:, None] * each)


def test_parts_make_the_whole():
    s = stream("oscillating", 60, 2, sigma=0.2)
    whole = play(OptimisticOMD(s.domain, s.G, 0.0, shape=(2,)), s.gradient, 60).decisions
    both = play(Ablated(s.domain, s.G, True, True, shape=(2,)), s.gradient, 60).decisions
    neither = play(Ablated(s.domain, s.G, False, False, shape=(2,)), s.gradient, 60).decisions
    assert both == pytest.approx(whole, abs=1e-14)
    plain = OptimisticOMD(s.domain, s.G, 0.0, optimistic=False, shape=(2,))
    assert neither == pytest.approx(play(plain, s.gradient, 60).decisions, abs=1e-14)


# ----------------------------------------------------------------------------------------------------------- real streams


def test_rows_are_one_long_and_signed():
    rows = signed_rows(RNG(15).normal(size=(30, 3)), np.arange(30) % 2)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0)
    assert (np.sign(rows[:, -1]) == np.where(np.arange(30) % 2, 1, -1)).all()
    assert np.isfinite(signed_rows(np.ones((4, 2)), [0, 1, 0, 1])).all()
    with pytest.raises(ValueError, match="two classes"):
        signed_rows(np.ones((3, 1)), [0, 0, 0])


def test_orders_are_what_they_say():
    y = np.arange(400) % 2

    def one(order):
        return arrival(order, y, 100, 2, 3, seed=0)

    for order in ("permutation", "sorted", "blocks"):
        assert all(len(np.unique(one(order)[:, s])) == 200 for s in range(3))
    by_class = y[one("sorted")]
    assert (np.diff(by_class.reshape(100, 3, 2).max(axis=2), axis=0) >= 0).all()
    blocks = y[one("blocks")][:80].reshape(4, 20, 3, 2)
    assert (blocks == np.arange(4)[:, None, None, None] % 2).all()
    flips = one("flips")
    assert ((flips >= 400).mean(axis=(1, 2)).reshape(5, 20) == [[0], [0], [0], [0], [1]]).all()
    assert one("replacement").shape == (100, 3, 2)
    with pytest.raises(ValueError, match="n_rounds"):
        arrival("permutation", y, 300, 2, 1)


def test_logistic_gradients_losses_and_noise():
    rng = RNG(16)
    rows = signed_rows(rng.normal(size=(40, 2)), rng.integers(0, 2, 40))
    s = LogisticStream(rows, arrival("flips", rng.integers(0, 2, 40), 100 // 5, 2, 3))
    x = rng.normal(size=(20, 3, 3))
    for j in range(3):
        ahead, back = x + 1e-6 * np.eye(3)[j], x - 1e-6 * np.eye(3)[j]
        slope = (s.losses(ahead) - s.losses(back)) / 2e-6
        assert slope == pytest.approx(np.array([s.gradient(t, x[t])[:, j] for t in range(20)]), abs=1e-8)
    u, total = s.best(2000)
    assert s.losses(np.broadcast_to(u, (20, 3, 3))).sum(axis=0) == pytest.approx(total)
    nearby = s.domain.project(u + 0.05 * rng.normal(size=(50, 3, 3)))
    assert all((s.losses(np.broadcast_to(v, (20, 3, 3))).sum(axis=0) >= total - 1e-6).all() for v in nearby)
    one = -rows / (1 + np.exp(rows @ u[0]))[:, None]
    assert s.noise_at(u)[0] == pytest.approx(np.sqrt(one.var(axis=0).sum() / 2))
    assert (s.G, s.L) == (1.0, 0.25)
    with pytest.raises(ValueError, match="rows"):
        LogisticStream(2 * np.eye(2), np.zeros((1, 1, 1)))


# ----------------------------------------------------------------------------------------------------------------- races


def test_tuning_chooses_on_one_half_and_judges_on_the_other():
    regrets = np.array([[5.0, 5.0, 1.0, 1.0], [4.0, 2.0, 9.0, 8.0], [6.0, 6.0, 0.0, 0.0]])
    best = tuned(regrets, [1.0, 2.0, 4.0])
    assert (best.scale, best.edge) == (2.0, False)
    assert best.regrets.tolist() == [9.0, 8.0]
    assert tuned(regrets[:2], [1.0, 2.0]).edge
    flat = np.array([[2.0, 2.0], [1.0, 1.0], [0.999, 0.0]])
    assert tuned(flat, [1.0, 2.0, 4.0]) == (4.0, np.array([0.0]), False)
    with pytest.raises(ValueError, match="regrets"):
        tuned([[1.0, 2.0]], [1.0])


def test_contestants_share_everything_but_the_rule():
    s = stream("iid", 30, 4, sigma=0.5)
    single, several = race(s), race(s, [0.5, 1.0])
    assert set(single) == set(contestants(s))
    for name in single:
        assert several[name].shape == (30, 2, 4)
        assert several[name][:, 1] == pytest.approx(single[name], abs=1e-12)


def test_dynamic_race_is_what_it_says():
    s = stream("jumping", 40, 3, jumps=4, sigma=0.3, seed=1)
    out = dynamic_race(s, [0.05, 0.2])
    single = play(OptimisticOMD(s.domain, s.G, s.L, shape=(3,)), s.gradient, 40)
    assert out["single"] == pytest.approx(s.dynamic_regret(single.decisions))
    constant = play(OGD(s.domain, s.G, scale=0.2, constant=True, shape=(3,)), s.gradient, 40)
    assert out["constant"][1] == pytest.approx(s.dynamic_regret(constant.decisions))
    ensemble = play(OptimisticEnsemble(s.domain, s.G, s.L, 40, shape=(3,)), s.gradient, 40)
    assert out["ensemble"] == pytest.approx(s.dynamic_regret(ensemble.decisions))


def test_against_any_is_the_largest_linear_regret():
    g = RNG(17).normal(size=(25, 2))
    domain = Ball(2, 0.5, [1.0, 1.0])
    out = play(OptimisticOMD(domain, 5.0, 0.0), lambda t, x: g[t], 25)
    u = domain.start + 0.5 * _circle(3600)
    brute = np.sum(g * out.decisions) - (u @ g.sum(axis=0)).min()
    assert against_any(domain, out) == pytest.approx(brute, rel=1e-5)
