"""The attack operator, the poll, the covering step and the penalty: identities, exact cases, peers, limits, bad input."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from lib.backprop_free import directional_attacks as da
from lib.backprop_free.directional_attacks import attack, directions
from lib.backprop_free.directional_attacks.problem import SurrogateProblem

RNG = np.random.default_rng(0)
W = torch.tensor(RNG.standard_normal((5, 7)))
U = torch.tensor(RNG.standard_normal(5))
X = RNG.standard_normal(7)


def linear(x):
    return W @ x


def curved(x):
    return torch.tanh(W @ x) + (W @ x) ** 2 / 10


def test_fgsm_is_the_best_move_for_a_linear_network_and_gains_the_dual_norm():
    d = da.directional_attack(linear, X, U, 0.3)
    g = W.T @ U
    assert torch.equal(d, 0.3 * g.sign())
    assert float((linear(torch.tensor(X) + d) - linear(torch.tensor(X))) @ U) == pytest.approx(
        0.3 * float(g.abs().sum()), rel=1e-12
    )
    best = linprog(-g.numpy(), bounds=[(-0.3, 0.3)] * 7)
    np.testing.assert_allclose(best.x, d.numpy(), atol=1e-9)


def test_gradient_behind_the_attack_is_that_of_automatic_differentiation():
    x = torch.tensor(X)
    jacobian = torch.autograd.functional.jacobian(curved, x)
    assert torch.equal(da.directional_attack(curved, x, U, 0.2), 0.2 * (jacobian.T @ U).sign())


def test_soft_labels_take_the_mean_of_the_direction_off():
    x = torch.tensor(X)
    jacobian = torch.autograd.functional.jacobian(curved, x)
    d = da.directional_attack(curved, x, U, 0.2, loss="soft_label")
    assert torch.equal(d, 0.2 * (jacobian.T @ (U - U.mean())).sign())
    assert not torch.equal(d, da.directional_attack(curved, x, U, 0.2))
    centered = U - U.mean()
    assert torch.equal(da.directional_attack(curved, x, centered, 0.2, loss="soft_label"),
                       da.directional_attack(curved, x, centered, 0.2))  # fmt: skip


def test_attack_loss_by_hand():
    v, u = torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0])
    log_sum = np.log(np.exp(1) + np.exp(2))
    assert float(attack.attack_loss(v, u)) == pytest.approx(-1.5)
    assert float(attack.attack_loss(v, u, "soft_label")) == pytest.approx(0.5 * (1 - log_sum) - (2 - log_sum), rel=1e-6)


def test_long_steps_of_pgd_are_fgsm_for_a_linear_network():
    fgsm = da.directional_attack(linear, X, U, 0.3)
    assert torch.allclose(da.directional_attack(linear, X, U, 0.3, method="pgd", steps=1, step_size=1.0), fgsm)
    assert torch.allclose(da.directional_attack(linear, X, U, 0.3, method="pgd", steps=3, step_size=0.5), fgsm)


def test_pgd_stays_in_the_box_and_by_default_reaches_a_sixth_of_it():
    for size in (0.01, 1.0, 100.0):
        d = da.directional_attack(curved, X, U, size, method="pgd", steps=30, step_size=0.3)
        assert float(d.abs().max()) <= size
    assert (attack.PGD_STEPS, attack.PGD_STEP_SIZE) == (10, 4 / 255)
    d = da.directional_attack(linear, X, U, 0.3, method="pgd")
    np.testing.assert_allclose(d.abs().numpy(), 0.3 * 40 / 255, rtol=1e-12)


def test_each_step_of_pgd_takes_the_gradient_where_it_is():
    x, d, radius = torch.tensor(X), torch.zeros(7, dtype=torch.float64), 0.7
    for _ in range(4):
        slope = torch.autograd.functional.jacobian(curved, x + d).T @ U
        d = (d + radius * 0.4 * slope.sign()).clamp(-radius, radius)
    assert torch.equal(da.directional_attack(curved, x, U, radius, method="pgd", steps=4, step_size=0.4), d)


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_peer_library_gives_the_same_attack(method):
    torchattacks = pytest.importorskip("torchattacks")
    radius, x = 0.2, torch.tensor(X, dtype=torch.float32)
    weight = W.float()

    def net(z):
        return torch.tanh(z @ weight.T) + (z @ weight.T) ** 2 / 10

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def forward(self, delta):
            flat = delta.reshape(len(delta), -1)
            return net(x + 2 * radius * (flat - 0.5)) - net(x[None])

    peer = torchattacks.FGSM(Wrapped(), eps=0.5) if method == "fgsm" else torchattacks.PGD(
        Wrapped(), eps=0.5, alpha=2 / 255, steps=10, random_start=False)  # fmt: skip
    middle = torch.full((1, 1, 1, 7), 0.5)
    theirs = 2 * radius * (peer(middle, -U.float()[None]) - 0.5).reshape(-1)
    ours = da.directional_attack(net, x, U.float(), radius, method=method, loss="soft_label")
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)


def test_the_network_is_called_once_for_each_step():
    calls = []

    def counted(x):
        calls.append(1)
        return linear(x)

    for method, loss, most in (
        ("fgsm", "linear", 1),
        ("fgsm", "soft_label", 1),
        ("pgd", "linear", 10),
        ("pgd", "soft_label", 10),
    ):
        calls.clear()
        da.directional_attack(counted, X, U, 0.1, method=method, loss=loss)
        assert len(calls) == most


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_inputs_that_do_not_matter_stay(method):
    d = da.directional_attack(lambda x: x[:1] ** 2, np.array([1.0, 1.0]), np.array([1.0]), 0.3, method=method)
    assert float(d[0]) > 0
    assert float(d[1]) == 0


def test_flat_networks_give_no_move_and_a_gradient_without_number_counts_as_none():
    assert not da.directional_attack(lambda x: torch.zeros(5), X, U, 0.1).any()
    d = da.directional_attack(lambda x: torch.sqrt(x), np.zeros(3), np.array([1.0, 1.0, -1.0]), 0.1)
    assert torch.isfinite(d).all()


def test_a_network_that_writes_into_its_input_changes_nothing():
    def spoiler(x):
        with torch.no_grad():
            x[0] = 77.0
        return linear(x)

    kept = X.copy()
    with pytest.raises(RuntimeError):  # a leaf that needs a gradient
        da.directional_attack(lambda x: linear(x.add_(1)), X, U, 0.1)
    da.directional_attack(spoiler, X, U, 0.1)
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize(
    ("change", "match"),
    [({"radius": 0.0}, "radius"), ({"radius": np.nan}, "radius"), ({"direction": np.ones(4)}, "direction"),
     ({"direction": np.full(5, np.inf)}, "direction"), ({"x": np.zeros((2, 2))}, "x"), ({"method": "cw"}, "method"),
     ({"loss": "mse"}, "loss"), ({"steps": 0}, "steps"), ({"step_size": -1.0}, "step_size"), ({"phi": 3}, "phi"),
     ({"x": X.astype(np.float16)}, "x"), ({"x": torch.zeros(7, dtype=torch.bfloat16)}, "x")],
)  # fmt: skip
def test_bad_input_is_refused_by_name(change, match):
    good = {"phi": linear, "x": X, "direction": U, "radius": 0.1}
    with pytest.raises((ValueError, TypeError), match=match):
        da.directional_attack(**good | change)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_householder_rows_are_orthonormal_and_the_poll_spans_positively(n):
    H = directions.householder(RNG.standard_normal(n))
    np.testing.assert_allclose(H @ H.T, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(H, H.T, atol=1e-15)
    for poll, rows in (("2n", 2 * n), ("n+1", n + 1)):
        moves = da.poll_directions(n, 0.3, poll, seed=1)
        assert moves.shape == (rows, n)
        np.testing.assert_allclose(abs(moves).max(axis=1), 0.3)
        for target in (*np.eye(n)[:3], *RNG.standard_normal((3, n))):
            assert linprog(np.ones(rows), A_eq=moves.T, b_eq=target).status == 0


def test_cosine_measure_of_the_poll_with_2n_directions():
    n = 6
    moves = da.poll_directions(n, 1.0, "2n", seed=3)
    units = moves / np.linalg.norm(moves, axis=1, keepdims=True)
    random = RNG.standard_normal((4000, n))
    worst = (units @ (random / np.linalg.norm(random, axis=1, keepdims=True)).T).max(axis=0).min()
    assert worst >= 1 / np.sqrt(n) - 1e-12
    corner = units[:n].sum(axis=0)
    assert (units @ (corner / np.linalg.norm(corner))).max() == pytest.approx(1 / np.sqrt(n))


def test_rows_of_the_smaller_poll_are_orthogonal_and_sum_to_nothing():
    moves = da.poll_directions(4, 1.0, "n+1", seed=5)
    units = moves / np.linalg.norm(moves, axis=1, keepdims=True)
    np.testing.assert_allclose(units[:4] @ units[:4].T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(units[4], -units[:4].sum(axis=0) / 2, atol=1e-12)


def test_random_rotations_have_no_preferred_direction():
    rng = np.random.default_rng(0)
    many = np.array([directions.random_rotation(3, rng) for _ in range(3000)])
    assert abs(many.mean(axis=0)).max() < 0.06  # six standard errors
    np.testing.assert_allclose((many**2).mean(axis=0), 1 / 3, atol=0.04)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_laws_of_the_covering_step(n):
    rng = np.random.default_rng(1)
    radius, power = 0.2, n
    for kind, law in (("random", lambda t: (t / radius) ** power), ("official", lambda t: t**power / radius)):
        lengths = np.array([abs(da.covering_move(n, radius, kind, seed=rng)).max() for _ in range(3000)])
        top = radius if kind == "random" else radius ** (1 / n)
        assert lengths.max() <= top * (1 + 1e-12)
        for t in (0.5 * top, 0.9 * top):
            assert np.mean(lengths <= t) == pytest.approx(law(t), abs=0.05)


def test_farthest_covering_avoids_what_is_known():
    known = np.random.default_rng(0).uniform(-1, 0, (200, 2)) * [1, -1]
    moves = np.array([da.covering_move(2, 1.0, "farthest", seed=i, known=known) for i in range(50)])
    away = np.sqrt(((moves[:, None] - known) ** 2).sum(-1)).min(1)
    plain = np.array([da.covering_move(2, 1.0, "random", seed=i) for i in range(50)])
    assert away.mean() > 1.5 * np.sqrt(((plain[:, None] - known) ** 2).sum(-1)).min(1).mean()
    one = da.covering_move(2, 1.0, "farthest", seed=3, known=known)
    tried = np.random.default_rng(3).uniform(-1, 1, (directions.CANDIDATES, 2))
    distance = np.sqrt(((tried[:, None] - known) ** 2).sum(-1)).min(1)
    np.testing.assert_array_equal(one, tried[distance.argmax()])
    assert directions.CANDIDATES == 32
    assert da.covering_move(2, 1.0, "farthest", seed=3, known=np.zeros((0, 2))).shape == (2,)


def limited():
    return SurrogateProblem(
        curved,
        lambda y: torch.sin(y).sum(),
        constraints=lambda x, y: torch.cat([y[:2] - 0.1, x[:1] ** 2 - 0.01]),
        penalty_scale=3.0,
    )


def test_penalty_and_its_direction_are_those_of_automatic_differentiation():
    problem, x = limited(), torch.tensor(X, requires_grad=True)
    y = curved(x)
    c = torch.cat([y[:2] - 0.1, x[:1] ** 2 - 0.01])
    value = torch.sin(y).sum() - 9 * (c.clamp(min=0) ** 2).sum()
    assert problem.value(X) == pytest.approx(float(value), rel=1e-12)
    (slope,) = torch.autograd.grad(value, x)
    u = problem.direction(problem.outputs(X))
    jacobian = torch.autograd.functional.jacobian(problem.extended, torch.tensor(X))
    np.testing.assert_allclose((jacobian.T @ u).numpy(), slope.numpy(), rtol=1e-10, atol=1e-12)
    found, gradient = problem.gradient(X)
    assert found == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(gradient, slope.numpy(), rtol=1e-12)
    assert problem.violation(problem.outputs(X)) == pytest.approx(float(c.clamp(min=0).max()), rel=1e-12)


def test_own_gradient_of_the_objective_is_used_and_its_shape_checked():
    problem = SurrogateProblem(curved, lambda y: y.sum(), lambda y: 7 * torch.ones_like(y))
    assert torch.equal(problem.direction(problem.outputs(X)), 7 * torch.ones(5, dtype=torch.float64))
    with pytest.raises(ValueError, match="grad_f"):
        SurrogateProblem(curved, lambda y: y.sum(), lambda y: y[:2]).direction(problem.outputs(X))


def test_problem_counts_refuses_and_forgets():
    problem = limited()
    (
        problem.value(X),
        problem.gradient(X),
        problem.attack(X, torch.ones(8), 0.1),
        problem.attack(X, torch.ones(8), 0.1, method="pgd"),
    )
    assert (problem.n_eval, problem.n_grad) == (1, 12)
    assert (problem.fresh().n_eval, problem.n_eval) == (0, 1)
    with pytest.raises(ValueError, match="constraints"):
        SurrogateProblem(curved, lambda y: y.sum(), constraints=lambda x, y: y[:0]).value(X)
    with pytest.raises(ValueError, match="phi"):
        SurrogateProblem(lambda x: x[None], lambda y: y.sum()).value(X)
    with pytest.raises(ValueError, match="penalty_scale"):
        SurrogateProblem(curved, lambda y: y.sum(), penalty_scale=0.0)
    with pytest.raises(TypeError, match="dtype"):
        SurrogateProblem(curved, lambda y: y.sum(), dtype=torch.float16)
    with pytest.raises(ValueError, match="x must"):
        SurrogateProblem(curved, lambda y: y.sum(), n=7).value(np.zeros(3))


def test_users_functions_cannot_change_what_is_kept():
    def spoil(y):
        value = -(y**2).sum()
        with torch.no_grad():
            y += 100
        return value

    problem = SurrogateProblem(lambda x: x.mul(1.0), spoil)
    res = da.maximize_cdsm(problem, [1.0, 1.0], r_dsm=(1e-3, 1.0), seed=0, r0=0.5)
    np.testing.assert_allclose(res.x, 0, atol=2e-3)


def test_success_map_is_value_by_value():
    problem = limited()
    points, radii = RNG.standard_normal((4, 7)), np.array([1e-4, 0.1, 2.0])
    problem.n = 7
    found = da.attack_success_map(problem, points, radii, scale=0.5)
    for i, x in enumerate(points):
        u = problem.direction(problem.outputs(x))
        for j, r in enumerate(radii):
            assert found[i, j] == (problem.value(x + problem.attack(x, u, 0.5 * r)) > problem.value(x))
    assert found[:, 0].all()


def test_an_objective_that_is_no_number_is_named():
    vector = da.SurrogateProblem(lambda x: x, lambda y: y)
    with pytest.raises(ValueError, match=r"f\(y\) must be one number, got shape \(2,\)"):
        vector.value([1.0, 2.0])
    detached = da.SurrogateProblem(lambda x: x, lambda y: float(y.sum()))
    assert detached.value([1.0, 2.0]) == 3.0
    with pytest.raises(TypeError, match=r"f\(y\) must be a tensor where grad_f is not given, got 3"):
        detached.direction(detached.outputs([1.0, 2.0]))
