"""The study: closed forms against autograd, samples against the whole, hyper-cleaning's gradients and methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lib.data
from lib import experiment
from lib.constrained import bilevel_penalty as bp
from lib.constrained.bilevel_penalty import study
from lib.constrained.bilevel_penalty.study import cleaning as cleaning_module
from lib.constrained.bilevel_penalty.study import protocols as protocols_module
from lib.problems.bilevel import BilevelProblem
from lib.problems.cleaning import cleaning_task


@pytest.fixture(scope="module")
def cleaning():
    X, y = lib.data.digits()
    return study.SoftmaxCleaning(cleaning_task(X / 16, y, n_train=150, n_val=80, share=0.5, seed=0))


@pytest.fixture(scope="module")
def toy():
    return study.WideToy(0, 3, noise=0.3)


def by_autograd(of, x, y):
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    found = torch.autograd.grad(of(x, y), (x, y), allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for v, g in zip((x, y), found, strict=True)]


def test_closed_slopes_are_those_of_autograd(toy, cleaning):
    rng = np.random.default_rng(0)
    problems = [toy.problem, toy.sample(rng, 4), cleaning.problem, cleaning.sample(rng, 30)]
    for problem, owner in zip(problems, (toy, toy, cleaning, cleaning), strict=True):
        x, y = (torch.randn_like(v) for v in (owner.x0, owner.y0))
        for of, slopes in ((problem.upper, problem.upper_slopes), (problem.lower, problem.lower_slopes)):
            for ours, theirs in zip(slopes(x, y), by_autograd(of, x, y), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_samples_are_right_on_average(toy, cleaning):
    rng = np.random.default_rng(0)
    for owner, n in ((toy, 4000), (cleaning, 3000)):
        x, y = owner.x0 + 0.3, owner.y0 + 0.1
        drawn = [owner.sample(rng, 5).lower_slopes(x, y) for _ in range(n)]
        for k, exact in enumerate(owner.problem.lower_slopes(x, y)):
            found = torch.stack([d[k] for d in drawn])
            error = (found.mean(0) - exact).abs() / (found.std(0) / np.sqrt(n) + 1e-12)
            assert float(error.max()) < 5.5


def test_the_toys_hypergradient_is_the_methods(toy):
    one = study.WideToy(0, 3)
    for i in range(3):
        A, B, c, D = (part[i] for part in (one.A, one.B, one.c, one.D))
        problem = bp_problem(A, B, c, D)
        exact = bp.exact_hypergrad(problem, one.x0[i], one.best(one.x0)[i])
        torch.testing.assert_close(one.slope(one.x0)[i], exact, rtol=1e-9, atol=1e-10)
        y = one.solve(one.x0, 0.1)[i]
        assert float((0.1 * (y - c - D @ one.x0[i]) + A.T @ (A @ y - B @ one.x0[i])).norm()) < 1e-12


def bp_problem(A, B, c, D):
    return BilevelProblem(
        lambda x, y: ((y - c - D @ x) ** 2).sum() / 2 + 0.05 * (x**2).sum(), lambda x, y: ((A @ y - B @ x) ** 2).sum() / 2
    )


def test_products_with_second_derivatives_are_those_of_autograd(cleaning):
    x, y, v = (torch.randn_like(t) for t in (cleaning.x0, cleaning.y0, cleaning.y0))

    def slope(a, b):
        return torch.autograd.grad(cleaning.lower(a, b), b, create_graph=True)[0]

    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    mixed, hessian = torch.autograd.grad(slope(a, b) @ v, (a, b))
    hessian_times, mixed_times = cleaning.products(x, y)
    torch.testing.assert_close(hessian_times(v), hessian, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(mixed_times(v), mixed, rtol=1e-9, atol=1e-12)


def test_slopes_in_closed_form_are_those_of_autograd(cleaning):
    x, y = torch.randn_like(cleaning.x0), torch.randn_like(cleaning.y0)
    plain = BilevelProblem(cleaning.upper, cleaning.lower)
    for name in ("upper_slopes", "lower_slopes"):
        for a, b in zip(getattr(cleaning.problem, name)(x, y), getattr(plain, name)(x, y), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_way_back_through_the_steps_is_that_of_autograd(cleaning):
    x, path, gamma = cleaning.x0.clone().requires_grad_(), [cleaning.y0], 0.5
    for _ in range(4):
        y = path[-1].detach().requires_grad_() if len(path) == 1 else path[-1]
        path.append(y - gamma * torch.autograd.grad(cleaning.lower(x, y), y, create_graph=True)[0])
    exact = torch.autograd.grad(cleaning.upper(x, path[-1]), x)[0]
    found = cleaning_module.back_through(cleaning, x.detach(), [y.detach() for y in path], gamma)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-14)


def test_penalized_and_implicit_gradients_agree_on_digits(cleaning):
    x = cleaning.x0
    z = cleaning.solve(x, max_iter=3000)
    exact = bp.exact_hypergrad(cleaning.problem, x, z, method="cg", check_tol=1e-3)
    errors = {}
    for sigma in (0.1, 0.01):
        y = cleaning.solve(x, z, max_iter=3000, sigma=sigma)
        found = bp.penalty_hypergrad(cleaning.problem, x, y, z, sigma)
        errors[sigma] = float((found - exact).norm() / exact.norm())
        if sigma == 0.01:
            assert float(found @ exact / found.norm() / exact.norm()) > 0.999
    assert 5 < errors[0.1] / errors[0.01] < 12


def test_a_race_keeps_the_best_step_and_reads_between_checkpoints():
    args = {"seed": 0, "n_runs": 3, "n_tuning": 2}
    race = study.rate_race("exact", **args, sigmas=[0.3], alphas=[1e-6, 1.0, 50.0], n_calls=180)
    for one in race.values():
        assert (one.sigma, one.alpha, one.edge) == (0.3, 1.0, False)
        np.testing.assert_allclose(one.at(one.calls[-1]), one.norms[-1])
        assert (one.powers == one.late).all()
    assert not np.allclose(race["one"].norms, race["plane"].norms)
    tied = study.rate_race("exact", **args, sigmas=[0.3, 100.0], alphas=[1.0], n_calls=180)
    assert tied["one"].sigma == 0.3
    assert tied["one"].edge
    settings = {"sigmas": [1.0], "alphas": [1.0], "n_calls": 120}
    calls = {k: study.rate_race(k, **args, **settings)["one"].calls[-1] for k in ("double", "momentum", "plain", "shrinking")}
    assert calls == {"double": 33 * (1 + 3), "momentum": 3 * (1 + 2 * 20), "plain": 120, "shrinking": 120}
    long = study.rate_race("double", **args, **settings, beyond=10)["one"]
    assert long.calls[-1] >= 1200
    assert not np.allclose(long.powers, long.late)


def test_the_problems_that_are_shown_are_those_of_every_race_and_not_the_tuning_ones():
    args = {"seed": 3, "n_runs": 2, "sigmas": [1.0], "n_calls": 60}
    first, second = (study.rate_race("exact", n_tuning=n, alphas=[1.0], **args)["one"].norms for n in (1, 5))
    np.testing.assert_array_equal(first, second)


def test_the_power_is_fitted_over_one_tenfold_range():
    calls = np.geomspace(1, 100, 9)
    norms = np.where(calls < 9, 1.0, 5 * calls**-0.5)[:, None]
    np.testing.assert_allclose(protocols_module._fitted(calls, norms, 8), [-0.5])


def test_the_toys_curvature_is_that_of_its_slope():
    toy = study.WideToy(0, 2)
    H = torch.func.jacrev(lambda x: toy.slope(x).sum(0))(toy.x0)  # (3, runs, 3)
    largest = torch.linalg.eigvalsh(H.permute(1, 0, 2))[:, -1]
    torch.testing.assert_close(toy.curvature(), largest, rtol=1e-9, atol=1e-12)


def test_the_toys_ranks_are_those_asked_for():
    toy = study.WideToy(0, 2, repeats=2, ranks=(6, 4))
    assert torch.linalg.matrix_rank(toy.A, rtol=1e-9).tolist() == [6, 6, 4, 4] * 2
    assert study.RANKS == {"one": 6, "plane": 4}
    y = toy.best(toy.x0)
    assert float(toy.lower_slopes(toy.x0, y)[1].abs().max()) < 1e-12


def test_the_promised_schedules():
    assert study.SCHEDULES["momentum"] == {"sigma": 1 / 5, "alpha": 3 / 5, "eta": 4 / 5}
    assert study.SCHEDULES["double"] == {"sigma": 1 / 3, "alpha": 1 / 3, "batch": -4 / 3}
    assert study.SCHEDULES["exact"] == {"sigma": 1 / 3, "alpha": 1 / 3}
    assert study.SCHEDULES["plain"] == {"sigma": 1 / 5, "alpha": 3 / 5}
    assert study.SCHEDULES["shrinking"] == {"sigma": 1 / 7, "alpha": 5 / 7, "gamma": 4 / 7}


@pytest.mark.parametrize("method", ["penalty", "implicit", "unrolled"])
def test_each_method_finds_wrong_labels(cleaning, method):
    run = {"penalty": study.clean_penalty, "implicit": study.clean_implicit, "unrolled": study.clean_unrolled}[method]
    alpha = 100.0 if method == "penalty" else 300.0
    result = run(cleaning, calls=1200, alpha=alpha)
    assert result.calls <= 1200
    assert result.auc > 0.85
    assert 0 < result.accuracy <= 1


def test_batches_count_as_calls_of_a_batch(cleaning):
    assert study.clean_penalty(cleaning, calls=30, alpha=5.0, gamma=0.3, batch=16).calls == 30


def test_traces_end_at_the_last_call(toy):
    loop = bp.SingleLoopPenalty(
        toy.problem, toy.x0, toy.y0, sigma=bp.PowerSchedule(0.5, 0.5), alpha=bp.PowerSchedule(0.1, 0.5), gamma=1.0
    )
    found = study.trace(loop, toy.slope, np.geomspace(15, 1500, 8))
    assert found.calls[-1] == loop.calls == 1500
    assert (np.diff(found.norms.mean(1)) < 0).all()
    with pytest.raises(ValueError, match="rise"):
        study.trace(loop, toy.slope, [1600, 1600])


def test_a_trace_is_the_root_mean_square_between_checkpoints(toy):
    def make():
        return bp.SingleLoopPenalty(toy.problem, toy.x0, toy.y0, sigma=0.3, alpha=0.05, gamma=0.5)

    found, loop, seen = study.trace(make(), toy.slope, [1, 2, 6, 12]), make(), []
    for _ in range(4):
        loop.step()
        seen.append(toy.slope(loop.x).norm(dim=1).numpy())
    assert found.calls.tolist() == [3, 6, 12]
    np.testing.assert_allclose(found.norms, [seen[0], seen[1], np.sqrt((seen[2] ** 2 + seen[3] ** 2) / 2)])


def test_the_bias_falls_with_the_weight_and_independent_noise_grows(toy):
    near, far = (study.gradient_noise(toy, s, 200, False, True, 0) for s in (0.003, 0.03))
    assert 5 < far[0] / near[0] < 12
    assert 8 < near[1].mean() / far[1].mean() < 12


def test_constants_of_the_cleaning_task():
    assert study.SoftmaxCleaning.__init__.__defaults__ == (1e-3,)
    assert study.clean_penalty.__defaults__[:3] == (100.0, 0.5, 0.1)


# Weak lower levels, networks, simple rivals


@pytest.mark.parametrize("kind", ["quadratic", "cubic"])
def test_the_weak_lower_level_rises_as_asked_and_its_slopes_are_right(kind):
    case = study.weak_instance(kind, 0.01, 3)
    assert abs(study.rise(case, case.x0, 1e-9) - 0.01) < 1e-6
    found = bp.exact_hypergrad(case.problem, case.x0, case.best(case.x0))
    numeric = study.numeric_hypergradient(case, case.x0, h=1e-7)
    assert float((found - numeric).norm()) <= 1e-5 * float(numeric.norm())
    y = case.lower(case.x0, 1e-7)
    slope = 1e-7 * case.problem.upper_slopes(case.x0, y)[1] + case.problem.lower_slopes(case.x0, y)[1]
    assert float(slope.norm()) < 1e-15
    if kind == "cubic":
        with pytest.raises(ValueError, match="sigma must be small"):
            case.lower(case.x0, 0.1)


def test_constants_grow_with_the_powers_of_the_theorem():
    for kind, power in (("quadratic", 2), ("cubic", 3)):
        found = []
        for mu in (1e-3, 1e-2):
            case = study.weak_instance(kind, mu, 0)
            gaps = study.landscape_gaps(case, case.x0, [mu**2 / 1000])
            found.append((gaps.value[0] / mu**2, gaps.gradient[0] / mu**2))
        value, slope = np.log10(np.array(found[0]) / found[1])
        assert abs(value - 1) < 0.1
        assert abs(slope - power) < 0.1


def test_a_plane_and_a_ring_rise_with_sigma_only():
    for family, expected in (("strong", 1.0), ("wide", 0.1), ("ring", 0.1)):
        case = study.instance(family, 0)
        ratio = study.rise(case, case.x0, 1e-3) / study.rise(case, case.x0, 1e-2)
        assert abs(ratio - expected) < 0.1
    with pytest.raises(ValueError, match="constraints"):
        study.rise(study.instance("box", 0), torch.zeros(3, dtype=torch.float64), 0.1)


def test_a_network_is_the_one_written_out_in_torch(cleaning):
    net = study.NetworkCleaning(cleaning.task, hidden=5, seed=1)
    first, second = torch.nn.Linear(65, 5, bias=False).double(), torch.nn.Linear(5, 10).double()
    with torch.no_grad():
        first.weight.copy_(net.y0[: 65 * 5].view(65, 5).T)
        rest = net.y0[65 * 5 :].view(6, 10)
        second.weight.copy_(rest[:-1].T), second.bias.copy_(rest[-1])
    scores = second(torch.tanh(first(net.X)))
    torch.testing.assert_close(net.scores(net.X, net.y0), scores)
    x = torch.randn_like(net.x0)
    losses = torch.nn.functional.cross_entropy(scores, net.y, reduction="none")
    expected = (torch.sigmoid(x) * losses).mean() + 5e-4 * (net.y0**2).sum()
    torch.testing.assert_close(net.lower(x, net.y0), expected)
    y = net.solve(x, max_iter=30)
    assert float(net.lower(x, y)) < float(net.lower(x, net.y0))
    assert float(net.upper(x, net.solve(x, max_iter=30, sigma=10.0))) < float(net.upper(x, y))


def test_a_network_finds_wrong_labels(cleaning):
    net = study.NetworkCleaning(cleaning.task, hidden=8)
    run = study.clean_penalty(net, calls=450, alpha=1000.0, sigma=1.0)
    assert run.auc > 0.85
    assert run.accuracy > net.accuracy(net.solve(net.x0)) + 0.1


def test_simple_rivals_are_those_described(cleaning):
    found = study.simple_rivals(cleaning.task)
    assert list(found) == ["all labels", "validation", "filter"]
    assert found["all labels"] < found["validation"] <= 1
    assert found["filter"] > found["all labels"]


def test_the_search_keeps_the_least_loss_names_ends_and_survives_divergence(cleaning):
    def run(one, calls, a, b):
        if a == 3.0:
            raise FloatingPointError("diverged")
        return study.CleaningRun(one.x0, calls, (a - 2) ** 2 + (b - 2) ** 2, 0.0, 0.0)

    found = study.least_loss(run, cleaning, 10, a=[1.0, 2.0, 3.0], b=[2.0, 5.0])
    assert found == (run, {"a": 2.0, "b": 2.0}, ["b"])
    with pytest.raises(ValueError, match="grids hold no settings"):
        study.least_loss(run, cleaning, 10, a=[3.0], b=[1.0])
    with pytest.raises(TypeError, match="list of them"):
        study.least_loss(run, [], 10, a=[1.0])
    with pytest.raises(ValueError, match="grids must name"):
        study.least_loss(run, cleaning, 10)
    with pytest.raises(ValueError, match="a must"):
        study.least_loss(run, cleaning, 10, a=[-1.0], b=[1.0])
    with pytest.raises(TypeError, match="run"):
        study.least_loss(None, cleaning, 10, a=[1.0])
    with pytest.raises(TypeError, match="cleaning"):
        study.least_loss(run, cleaning.task, 10, a=[1.0])


def test_of_several_splits_the_mean_loss_decides_and_one_divergence_loses(cleaning):
    other = study.SoftmaxCleaning(cleaning.task, penalty=0.5)

    def run(one, calls, a):
        if one is other and a == 3.0:
            raise FloatingPointError("diverged")
        return study.CleaningRun(one.x0, calls, {1.0: 0.5, 2.0: 0.4, 3.0: 0.1}[a] + (one is other) * 0.3 * (a == 2.0), 0.0, 0.0)

    assert study.least_loss(run, cleaning, 10, a=[1.0, 2.0, 3.0]).settings == {"a": 3.0}
    assert study.least_loss(run, [cleaning, other], 10, a=[1.0, 2.0, 3.0]).settings == {"a": 1.0}
    with pytest.raises(ValueError, match="stays finite"):
        study.least_loss(run, [cleaning, other], 10, a=[3.0])


def test_the_first_of_several_splits_passes_six_settings_on(cleaning):
    other, seen = study.SoftmaxCleaning(cleaning.task, penalty=0.5), []

    def run(one, calls, a):
        seen.append((one is other, a))
        return study.CleaningRun(one.x0, calls, 10 - a if one is other else a, 0.0, 0.0)

    found = study.least_loss(run, [cleaning, other], 10, a=np.arange(1.0, 10.0))
    assert sorted(a for late, a in seen if late) == [1, 2, 3, 4, 5, 6]
    assert len(seen) == 15
    assert found.settings == {"a": 1.0}


def test_errors_of_the_value_are_free_of_rounding_at_small_weights():
    """All active bounds but a weakly pulled entry: the gap is some 1e-7 sigma, below the rounding of g over sigma."""
    config = experiment.start("bilevel_penalty", "full", 1)
    case = study.instance("box", config.rng("box", 4))
    sigmas = np.geomspace(1e-5, 1e-3, 5)
    gaps = study.landscape_gaps(case, case.x0, sigmas)
    assert study.log_slope(sigmas, gaps.value) == pytest.approx(1, abs=1e-3)
    ring = study.instance("ring", seed=0)
    best, z = ring.best(ring.x0), ring.lower(ring.x0, 0.0)
    direct = float(ring.problem.upper(ring.x0, best))
    direct -= bp.penalty_value(ring.problem, ring.x0, ring.lower(ring.x0, 0.1), z, 0.1)
    assert study.landscape_gaps(ring, ring.x0, [0.1]).value[0] == pytest.approx(direct, rel=1e-9)
