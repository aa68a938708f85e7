"""The learners of optimistic online mirror descent against formulas, small cases and independent solvers."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from lib.online.sea_omd import (
    Ball,
    Box,
    OptimisticEnsemble,
    OptimisticOMD,
    OptimisticOMDStronglyConvex,
    OptimisticONS,
    Simplex,
    dynamic_rate,
    exp_concave_bound,
    optimistic_round,
    play,
    realized_bound,
    regret_bound,
    step_pool,
    step_size,
    strongly_convex_bound,
    weights,
)

DOMAINS = [Ball(3), Ball(3, 2.0, [1.0, 0.0, -1.0]), Box([-1.0, 0.0, -2.0], [1.0, 0.5, 3.0]), Simplex(3)]
RNG = np.random.default_rng


def spd(rng, d, *batch):
    root = rng.normal(size=(*batch, d, d))
    return root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(d)


def nearest(domain, y, H):
    """The projection by a general solver."""
    if isinstance(domain, Ball):
        limits = [{"type": "ineq", "fun": lambda x: domain.radius**2 - np.sum((x - domain.start) ** 2)}]
        bounds = None
    elif isinstance(domain, Box):
        limits, bounds = [], list(zip(domain.low, domain.high, strict=True))
    else:
        limits, bounds = [{"type": "eq", "fun": lambda x: x.sum() - 1.0}], [(0.0, 1.0)] * domain.dim

    def fun(x):
        return (x - y) @ H @ (x - y)

    def jac(x):
        return 2.0 * H @ (x - y)

    return minimize(fun, domain.start, jac=jac, bounds=bounds, constraints=limits, method="SLSQP", options={"ftol": 1e-15}).x


# ------------------------------------------------------------------------------------------------------------- domains


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: type(d).__name__)
def test_projection_is_the_nearest_point(domain):
    for y in RNG(0).normal(scale=2.0, size=(8, 3)):
        assert domain.project(y) == pytest.approx(nearest(domain, y, np.eye(3)), abs=1e-6)


@pytest.mark.parametrize("domain", DOMAINS[:3], ids=lambda d: type(d).__name__)
def test_projection_in_a_norm_is_the_nearest_point(domain):
    rng = RNG(1)
    for y in rng.normal(scale=3.0, size=(8, 3)):
        H = spd(rng, 3)
        assert domain.project_norm(y, H) == pytest.approx(nearest(domain, y, H), abs=1e-5)


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: type(d).__name__)
def test_projection_stays_and_stays_put(domain):
    inside = domain.project(RNG(2).normal(scale=5.0, size=(50, 3)))
    assert domain.project(inside) == pytest.approx(inside, abs=1e-14)
    gaps = np.linalg.norm(inside[:, None] - inside[None], axis=-1)
    assert gaps.max() <= domain.diameter * (1 + 1e-12)


@pytest.mark.parametrize("domain", DOMAINS[:3], ids=lambda d: type(d).__name__)
def test_projections_in_a_norm_work_in_batches(domain):
    rng = RNG(3)
    y, H = rng.normal(scale=2.0, size=(2, 4, 3)), spd(rng, 3, 2, 4)
    together = domain.project_norm(y, H)
    single = [[domain.project_norm(y[i, j], H[i, j]) for j in range(4)] for i in range(2)]
    assert together == pytest.approx(np.array(single), abs=1e-12)
    one = domain.project_norm(y, H[0, 0])
    assert one[1, 2] == pytest.approx(domain.project_norm(y[1, 2], H[0, 0]), abs=1e-12)


def test_diameters():
    assert [d.diameter for d in DOMAINS] == pytest.approx([2.0, 4.0, np.sqrt(4 + 0.25 + 25), np.sqrt(2)])


def test_far_points_are_projected_without_overflow():
    assert Ball(2).project([1e200, 0.0]) == pytest.approx([1.0, 0.0])


def test_bad_norms_are_refused():
    with pytest.raises(ValueError, match="positive definite"):
        Ball(2).project_norm([1.0, 2.0], [[1.0, 0.0], [0.0, -1.0]])
    with pytest.raises(ValueError, match="positive definite"):
        Ball(2).project_norm([1.0, 2.0], [[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(TypeError, match="Simplex has none"):
        Simplex(2).project_norm([1.0, 2.0], np.eye(2))
    with pytest.raises(ValueError, match="low"):
        Box([0.0, 1.0], [1.0, 1.0])


# --------------------------------------------------------------------------------------------------------- convex losses


def by_hand(domain, G, delta, gradients, optimistic=True):
    """Algorithm 1 in plain words."""
    hat, x, last, V, decisions, steps = domain.start, domain.start, np.zeros(domain.dim), 0.0, [], []
    for g in gradients:
        eta = domain.diameter / np.sqrt(delta + 4 * G**2 + V)
        x = domain.project(hat - eta * last) if optimistic else hat
        decisions.append(x)
        steps.append(eta)
        hat = domain.project(hat - eta * g)
        V += np.sum((g - last * optimistic) ** 2)
        last = g
    return np.array(decisions), np.array(steps)


@pytest.mark.parametrize("optimistic", [True, False])
@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: type(d).__name__)
def test_learner_is_the_algorithm(domain, optimistic):
    g = RNG(4).normal(size=(30, 3))
    G = np.linalg.norm(g, axis=1).max()
    learner = OptimisticOMD(domain, G, L=0.5, optimistic=optimistic)
    out = play(learner, lambda t, x: g[t], 30)
    expected, steps = by_hand(domain, G, 10 * domain.diameter**2 * 0.25, g, optimistic)
    assert out.decisions == pytest.approx(expected, abs=1e-12)
    assert learner.eta_ < steps[-1]


def test_defaults_are_those_of_the_paper():
    learner = OptimisticOMD(Ball(2, 3.0), G=1.5, L=0.7)
    assert learner.delta == pytest.approx(10 * 6.0**2 * 0.7**2, rel=1e-15)
    assert learner.eta_ == pytest.approx(6.0 / np.sqrt(learner.delta + 4 * 1.5**2), rel=1e-15)
    assert step_size(6.0, 1.5, 2.0, 3.0) == pytest.approx(6.0 / np.sqrt(2.0 + 9.0 + 3.0), rel=1e-15)
    assert learner.scale == 1.0
    assert learner.optimistic


def test_steps_never_grow():
    g, steps = RNG(5).normal(size=(40, 3)), []
    learner = OptimisticOMD(Ball(3), 5.0, 1.0)
    for each in g:
        steps.append(float(learner.eta_))
        learner.predict()
        learner.update(each)
    assert (np.diff(steps) <= 0).all()


def test_constant_gradients_cost_a_constant():
    for T in (10, 1000):
        learner = OptimisticOMD(Ball(2), G=1.0, L=0.0, delta=0.0)
        out = play(learner, lambda t, x: [1.0, 0.0], T)
        assert learner.variation_ == 1.0
        assert np.sum(out.decisions[:, 0]) + T == pytest.approx(1.0, abs=0.2)


def test_nothing_moves_without_gradients():
    learner = OptimisticOMD(Ball(3, 1.0, [0.1, 0.2, 0.3]), 1.0, 1.0)
    out = play(learner, lambda t, x: np.zeros(3), 5)
    assert (out.decisions == [0.1, 0.2, 0.3]).all()


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: type(d).__name__)
def test_every_run_keeps_its_bound(domain):
    rng = RNG(6)
    for kind in range(4):
        g = rng.normal(size=(300, 3))
        g = [g, np.abs(g), g * np.sign(np.sin(np.arange(300)))[:, None], np.cumsum(g, axis=0)][kind]
        g /= np.linalg.norm(g, axis=1).max()
        out = play(OptimisticOMD(domain, 1.0, 0.0), lambda t, x, g=g: g[t], 300)
        ends = domain.project(-1e6 * g.sum(axis=0) + rng.normal(size=(100, 3)))
        regret = np.sum(g * out.decisions) - (ends @ g.sum(axis=0)).min()
        assert regret <= realized_bound(domain.diameter, 1.0, 0.0, out.variation[-1])


def test_the_round_by_hand():
    hat, x = optimistic_round(Ball(2, 10.0), [1.0, 0.0], [2.0, -1.0], 0.5, 0.25)
    assert hat == pytest.approx([0.0, 0.5])
    assert x == pytest.approx([-0.5, 0.75])


def test_guess_turns_cost_into_gain_as_the_identity_says():
    g = RNG(7).normal(size=(50, 2)) * 1e-3
    before = np.vstack([np.zeros((1, 2)), g[:-1]])
    x, hat = [], np.zeros(2)
    for t in range(50):
        x.append(hat - 0.1 * before[t])
        hat, _ = optimistic_round(Ball(2), hat, g[t], 0.1, 0.1)
    identity = 0.05 * (np.sum(g**2) - np.sum(g.sum(axis=0) ** 2)) - 0.1 * np.sum(g * before)
    assert np.sum(g * x) == pytest.approx(identity, rel=1e-10)


# ------------------------------------------------------------------------------------------- strongly convex, exp-concave


def test_strongly_convex_steps():
    g = RNG(8).normal(size=(6, 2)) * 0.01
    learner, hat, last = OptimisticOMDStronglyConvex(Ball(2), lam=0.5), np.zeros(2), np.zeros(2)
    for t in range(6):
        assert learner.predict() == pytest.approx(hat - 2 / (0.5 * (t + 1)) * last, abs=1e-14)
        learner.update(g[t])
        hat, last = hat - 2 / (0.5 * (t + 1)) * g[t], g[t]


def test_half_steps_without_guess_are_gradient_descent():
    learner, x = OptimisticOMDStronglyConvex(Ball(2), lam=2.0, scale=0.5, optimistic=False), np.zeros(2)
    for t, g in enumerate(RNG(9).normal(size=(10, 2))):
        assert learner.predict() == pytest.approx(x, abs=1e-14)
        learner.update(g)
        x = Ball(2).project(x - g / (2.0 * (t + 1)))


def test_strongly_convex_finds_a_fixed_target():
    c = np.array([0.3, -0.4])
    out = play(OptimisticOMDStronglyConvex(Ball(2), lam=3.0), lambda t, x: 3.0 * (x - c), 400)
    assert out.decisions[-1] == pytest.approx(c, abs=1e-2)
    losses = 1.5 * np.sum((out.decisions - c) ** 2, axis=1)
    assert losses[200:].sum() < 0.01 * losses.sum()


def test_newton_step_is_the_minimizer_in_its_norm():
    domain, g = Ball(3), RNG(10).normal(size=(5, 3)) / 3
    learner = OptimisticONS(domain, G=1.0, alpha=0.2)
    H, hat = (1 + learner.beta / 2) * np.eye(3), np.zeros(3)
    assert learner.beta == pytest.approx(0.5 * min(1 / 8, 0.2), rel=1e-15)
    for t in range(5):
        learner.predict()
        learner.update(g[t])
        hat = nearest(domain, hat - np.linalg.solve(H, g[t]), H)
        H = H + learner.beta / 2 * np.outer(g[t], g[t])
        assert np.allclose(learner.H_, H, rtol=1e-14)
        assert learner.xhat_ == pytest.approx(hat, abs=1e-5)
        assert learner.x_ == pytest.approx(nearest(domain, hat - np.linalg.solve(H, g[t]), H), abs=1e-5)


def test_metric_starts_as_in_the_paper():
    learner = OptimisticONS(Ball(2, 2.0), G=3.0, alpha=1e-3, shape=(2,), beta=[0.1, 0.2])
    assert learner.H_[:, 0, 0] == pytest.approx([1 + 0.05 * 9, 1 + 0.1 * 9])
    assert OptimisticONS(Ball(2, 2.0), G=3.0, alpha=1e-3).beta == pytest.approx(5e-4)
    assert OptimisticONS(Ball(2, 2.0), G=3.0, alpha=1.0).beta == pytest.approx(1 / (8 * 3 * 4))


def test_newton_runs_keep_their_bound():
    rng, d = RNG(11), 2
    a, b = rng.uniform(-0.7, 0.7, (400, d)), rng.uniform(-0.5, 0.5, 400)
    domain = Ball(d)
    learner = OptimisticONS(domain, G=1.5, alpha=1 / 2.3)
    out = play(learner, lambda t, x: (a[t] @ x - b[t]) * a[t], 400)
    u = domain.project(np.linalg.lstsq(a, b, rcond=None)[0])
    own = 0.5 * np.sum((np.sum(a * out.decisions, axis=1) - b) ** 2 - (a @ u - b) ** 2)
    beta, D = float(learner.beta), 2.0
    limit = 0.5 * (1 + beta / 2 * 1.5**2) * D**2 + 16 * d / beta * np.log1p(beta / (8 * d) * out.variation[-1])
    assert own <= limit


# -------------------------------------------------------------------------------------------------------------- ensemble


def test_pool_is_that_of_the_paper():
    D, G, L, T = 2.0, 1.5, 0.3, 5000
    pool = step_pool(D, G, L, T)
    assert len(pool) == np.ceil(0.5 * np.log2(G**2 * T / (8 * L**2 * D**2))) + 1
    smallest = np.sqrt(D**2 / (8 * G**2 * T))
    assert pool == pytest.approx([min(1 / (8 * L), smallest * 2**i) for i in range(len(pool))])
    assert pool[-1] == pytest.approx(1 / (8 * L))
    assert step_pool(1.0, 1.0, 100.0, 1) == pytest.approx([1 / 800])


def test_weights_are_exponential():
    scores = np.array([[0.0, 1.0], [1000.0, 1001.0]])
    p = weights(scores, [2.0, 1.0])
    assert p[0, 0] / p[0, 1] == pytest.approx(np.exp(2.0))
    assert p[1, 0] / p[1, 1] == pytest.approx(np.exp(1.0))
    assert p.sum(axis=-1) == pytest.approx(1.0)


def test_one_expert_is_one_learner():
    g = RNG(12).normal(size=(20, 3))
    single, hat, x = OptimisticEnsemble(Ball(3), 3.0, 1.0, 20, steps=[0.2]), np.zeros(3), np.zeros(3)
    for each in g:
        assert single.predict() == pytest.approx(x, abs=1e-13)
        single.update(each)
        hat, x = optimistic_round(Ball(3), hat, each, 0.2, 0.2)


def test_ensemble_is_the_algorithm():
    steps, c, g = np.array([0.05, 0.4]), 1.4, RNG(13).normal(size=(12, 2))
    learner = OptimisticEnsemble(Ball(2), 9.0, 0.7, 12, steps=steps)
    assert learner.correction == pytest.approx(c)
    assert learner.damping == 1.0
    hat, x, before = np.zeros((3, 2, 2))
    total, guess, surprise, p = np.zeros(2), np.zeros(2), 0.0, np.full(2, 0.5)
    for each in g:
        assert learner.predict() == pytest.approx(p @ x, abs=1e-13)
        learner.update(each)
        losses = x @ each + c * np.sum((x - before) ** 2, axis=1)
        surprise += np.abs(losses - guess).max() ** 2
        hat = Ball(2).project(hat - steps[:, None] * each)
        after = Ball(2).project(hat - steps[:, None] * each)
        guess = after @ each + c * np.sum((after - x) ** 2, axis=1)
        total = total + losses
        scores = -(total + guess) / np.sqrt(1.0 + surprise)
        p = np.exp(scores - scores.max())
        p, before, x = p / p.sum(), x, after


# ---------------------------------------------------------------------------------------------------------------- bounds


def test_bounds_are_their_formulas():
    D, G, L = 3.0, 2.0, 0.5
    fixed = 5 * np.sqrt(10) * D**2 * L + 2.5 * np.sqrt(5) * D * G
    assert regret_bound(D, G, L, 7.0, 11.0) == pytest.approx(fixed + 5 * np.sqrt(14) * D + 5 * D * np.sqrt(11))
    assert realized_bound(D, G, L, 7.0) == pytest.approx(2.5 * D * np.sqrt(10 * D**2 * L**2 + 4 * G**2 + 7))
    assert realized_bound(D, G, L, 7.0, delta=2.0) == pytest.approx(2.5 * D * np.sqrt(2 + 4 * G**2 + 7))
    assert dynamic_rate(8.0, 4.0, 9.0) == pytest.approx(8 + 3 * (2 + 3))


def test_the_constants_of_the_bound_follow_from_the_derivation():
    # (6) with (8), less (7), largest over the learner's own moves M: never above (9), and close for the damping of the paper.
    D, G, L, noise, drift = 2.0, 1.5, 0.8, 50.0, 20.0
    delta, M = 10 * D**2 * L**2, np.geomspace(1e-3, 1e6, 20000)
    V = G**2 + 4 * L**2 * M + 8 * noise + 4 * drift
    honest = (2.5 * D * np.sqrt(delta + 4 * G**2 + V) - np.sqrt(delta + 4 * G**2) / (4 * D) * M).max()
    assert honest <= regret_bound(D, G, L, noise, drift)
    split = 2.5 * D * (np.sqrt(delta) + np.sqrt(5) * G + np.sqrt(8 * noise) + np.sqrt(4 * drift) + 2 * L * np.sqrt(M))
    assert (split - np.sqrt(delta) / (4 * D) * M).max() == pytest.approx(regret_bound(D, G, L, noise, drift), rel=1e-4)


def test_strongly_convex_bound_by_a_loop():
    D, G, L, lam, rng = 2.0, 1.5, 1.3, 0.4, RNG(14)
    noise, drift = rng.uniform(0, 1, (2, 60))
    total, expected = lam * D**2 / 4 + (2 / lam + 2 / lam) * G**2, []
    for t in range(1, 61):
        if t > 1:
            w = 2 / (lam * t) + 2 / (lam * t**2)
            total += w * (4 * noise[t - 1] + 4 * noise[t - 2] + 4 * drift[t - 1])
            total += max(4 * L**2 * w - lam * (t - 1) / 8, 0) * D**2
        expected.append(total)
    assert strongly_convex_bound(D, G, L, lam, noise, drift) == pytest.approx(expected)


def test_exp_concave_bound_by_its_formula():
    D, G, L, beta, d = 2.0, 1.5, 0.9, 0.05, 3
    expected = D**2 / 2 * (1 + beta * G**2 / 2)
    expected += 16 * d / beta * (np.log(1 + beta / (8 * d) * (G**2 + 8 * 30 + 4 * 7)) + np.log(32 * L**2))
    assert exp_concave_bound(D, G, L, beta, d, 30.0, 7.0) == pytest.approx(expected)
    free = exp_concave_bound(D, G, 0.0, beta, d, 30.0, 7.0)
    assert expected - free == pytest.approx(16 * d / beta * np.log(32 * L**2))


# -------------------------------------------------------------------------------------------------------------- protocol


MAKERS = {
    "convex": lambda **more: OptimisticOMD(Ball(2), 9.0, 0.5, **more),
    "strong": lambda **more: OptimisticOMDStronglyConvex(Ball(2), 0.5, **more),
    "newton": lambda **more: OptimisticONS(Ball(2), 9.0, 0.5, **more),
    "ensemble": lambda **more: OptimisticEnsemble(Ball(2), 9.0, 0.5, 100, **more),
}


@pytest.fixture(params=MAKERS)
def maker(request):
    return MAKERS[request.param]


def test_update_without_predict_is_refused(maker):
    learner = maker()
    with pytest.raises(RuntimeError, match="predict"):
        learner.update([1.0, 0.0])
    learner.predict()
    learner.update([1.0, 0.0])
    with pytest.raises(RuntimeError, match="predict"):
        learner.update([1.0, 0.0])


def test_bad_gradients_leave_the_learner_as_it_was(maker):
    learner, kept = maker(), maker()
    for each in (learner, kept):
        each.predict()
    for bad in ([np.nan, 0.0], [np.inf, 0.0], [1.0], [1e200, 0.0], "no", None, [1j, 0.0]):
        with pytest.raises((TypeError, ValueError), match="grad"):
            learner.update(bad)
    for each in (learner, kept):
        each.update([0.5, 0.5])
    assert (learner.predict() == kept.predict()).all()


def test_decisions_are_copies(maker):
    learner = maker()
    learner.predict()[:] = 7.0
    assert (learner.predict() == 0.0).all()


def test_batches_equal_single_runs(maker):
    g = RNG(15).normal(size=(25, 2, 3, 2))
    batch = play(maker(shape=(2, 3)), lambda t, x: g[t], 25).decisions
    single = play(maker(), lambda t, x: g[t, 1, 2], 25).decisions
    assert batch[:, 1, 2] == pytest.approx(single, abs=1e-12)


def test_resumed_runs_continue_alike(maker):
    g = RNG(16).normal(size=(30, 2))
    learner = maker()
    play(learner, lambda t, x: g[t], 13)
    learner.predict()
    others = [copy.deepcopy(learner), pickle.loads(pickle.dumps(learner))]
    rest = play(learner, lambda t, x: g[13 + t], 17).decisions
    for other in others:
        assert (play(other, lambda t, x: g[13 + t], 17).decisions == rest).all()


def test_single_precision_is_computed_in_double(maker):
    g = RNG(17).normal(size=(9, 2)).astype(np.float32)
    a = play(maker(), lambda t, x: g[t], 9).decisions
    b = play(maker(), lambda t, x: g[t].astype(float), 9).decisions
    assert a.dtype == np.float64
    assert (a == b).all()


def test_long_gradients_warn_once():
    learner = OptimisticOMD(Ball(2), 1.0, 0.0)
    with pytest.warns(UserWarning, match="longer than G = 1"):
        play(learner, lambda t, x: [2.0, 0.0], 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(learner, lambda t, x: [2.0, 0.0], 3)


def test_several_scales_side_by_side():
    learner = OptimisticOMD(Ball(2), 1.0, 0.0, scale=[[0.5], [2.0]], shape=(2, 3))
    out = play(learner, lambda t, x: np.full((2, 3, 2), 0.3), 4).decisions
    alone = play(OptimisticOMD(Ball(2), 1.0, 0.0, scale=2.0), lambda t, x: [0.3, 0.3], 4).decisions
    assert out[:, 1, 0] == pytest.approx(alone, abs=1e-14)
    with pytest.raises(ValueError, match="scale"):
        OptimisticOMD(Ball(2), 1.0, 0.0, scale=[1.0, 2.0], shape=(3,))


def test_bad_settings_are_refused():
    for bad in (lambda: OptimisticOMD("ball", 1.0, 0.0), lambda: OptimisticONS(Simplex(2), 1.0, 1.0)):
        with pytest.raises(TypeError, match="domain"):
            bad()
    with pytest.raises(ValueError, match="L must be"):
        OptimisticEnsemble(Ball(2), 1.0, 0.0, 10)
    with pytest.raises(ValueError, match="scores"):
        weights(1.0, 1.0)
    with pytest.raises(TypeError, match="learner"):
        play("learner", lambda t, x: x, 3)


def test_user_functions_get_copies():
    def spoil(t, x):
        x[:] = 9.0
        return np.zeros(2)

    assert (play(OptimisticOMD(Ball(2), 1.0, 0.0), spoil, 3).decisions == 0.0).all()


def test_variation_of_a_play():
    g = RNG(18).normal(size=(7, 2))
    learner = OptimisticOMD(Ball(2), 5.0, 0.0)
    out = play(learner, lambda t, x: g[t], 7)
    assert out.variation[-1] == pytest.approx(learner.variation_)
    assert out.variation[1] == pytest.approx(np.sum(g[0] ** 2) + np.sum((g[1] - g[0]) ** 2))


# --- odd use ---


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_a_factor_on_the_metric_changes_no_projection(size):
    H = np.array([[2.0, 0.5], [0.5, 1.0]])
    for domain in (Ball(2), Box([-1.0, -1.0], [1.0, 0.5])):
        np.testing.assert_allclose(domain.project_norm([3.0, -4.0], size * H), domain.project_norm([3.0, -4.0], H), rtol=1e-12)


@pytest.mark.parametrize("far", [1e3, 1e100, 1e200])
def test_far_points_are_projected_in_a_norm(far):
    H = np.diag([1.0, 2.0])
    x = Ball(2).project_norm([far, far], H)
    direction = H @ np.ones(2)  # from so far away the nearest point lies where the pull points
    np.testing.assert_allclose(x, direction / np.linalg.norm(direction), atol=10 / far)


def test_a_hopeless_metric_keeps_the_decision_in_the_ball():
    learner = OptimisticONS(Ball(2), 1.0, 1.0)
    for g in ([1e100, 0.0], [-1e100, 1e100], [0.0, 1e-3]):
        x = learner.predict()
        assert np.isfinite(x).all()
        assert np.linalg.norm(x) <= 1.0
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="a gradient is longer than G")
            learner.update(g)


@pytest.mark.parametrize("y", [[1e20, 1e20, 0.0], [1e308, 1e308, -1e308], [-1e17, -1e17, -1e17], [1e-300, 0.0, 0.0]])
def test_simplex_takes_points_of_any_size(y):
    ties = np.array(y) >= np.max(y) - 1e-15
    np.testing.assert_allclose(Simplex(3).project(y), ties / ties.sum(), atol=1e-12)


@pytest.mark.parametrize("maker", [
    lambda domain: OptimisticOMD(domain, 5.0, 1.0), lambda domain: OptimisticOMDStronglyConvex(domain, 1.0),
    lambda domain: OptimisticONS(domain, 5.0, 1.0), lambda domain: OptimisticEnsemble(domain, 5.0, 1.0, 40),
])  # fmt: skip
def test_where_the_origin_lies_and_how_axes_turn_does_not_matter(maker):
    rng = np.random.default_rng(3)
    g, middle, turn = rng.normal(size=(40, 3)), np.array([50.0, -30.0, 20.0]), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    plain = play(maker(Ball(3)), lambda t, x: g[t], 40).decisions
    moved = play(maker(Ball(3, center=middle)), lambda t, x: g[t], 40).decisions
    turned = play(maker(Ball(3)), lambda t, x: g[t] @ turn, 40).decisions
    np.testing.assert_allclose(moved - middle, plain, atol=1e-12)
    np.testing.assert_allclose(turned, plain @ turn, atol=1e-12)


def test_units_of_losses_and_decisions_do_not_matter():
    g = np.random.default_rng(4).normal(size=(30, 3))
    plain = play(OptimisticOMD(Ball(3), 5.0, 1.0), lambda t, x: g[t], 30).decisions
    for losses, lengths in ((1e8, 1.0), (1.0, 1e-8), (1e-20, 1e10)):
        own = OptimisticOMD(Ball(3, radius=lengths), 5.0 * losses, losses / lengths)
        np.testing.assert_allclose(play(own, lambda t, x, c=losses: c * g[t], 30).decisions / lengths, plain, atol=1e-12)


def test_equal_experts_are_one_and_their_order_is_free():
    g = np.random.default_rng(5).normal(size=(30, 2))
    runs = [play(OptimisticEnsemble(Ball(2), 5.0, 1.0, 30, steps=steps), lambda t, x: g[t], 30).decisions
            for steps in ([0.1], [0.1, 0.1, 0.1], [0.1, 0.3], [0.3, 0.1])]  # fmt: skip
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-13)
    np.testing.assert_allclose(runs[3], runs[2], atol=1e-13)


def test_settings_of_absurd_size_are_named():
    calls = [
        lambda: Ball(2, radius=1e-200),
        lambda: Box([-1e308], [1e308]),
        lambda: OptimisticOMDStronglyConvex(Ball(2), 1e-200),
    ]
    calls += [lambda: step_size(2.0, 1e-200, 0.0, 0.0), lambda: step_pool(2.0, 1.0, 1e200, 10)]
    calls += [lambda: regret_bound(1e200, 1.0, 1.0, 0.0, 0.0)]
    for call in calls:
        with pytest.raises(ValueError, match="at least"):
            call()
    assert weights([-1e308, 1e308], 1.0).tolist() == [1.0, 0.0]
