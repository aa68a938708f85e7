"""ParetoDA's parts that can be computed exactly: losses, refinement, programs, and the estimator's promises."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from lib.objectives.pareto_da import (
    ClassDomainDiscriminators,
    TCMLoss,
    min_norm_weights,
    pareto_weights,
    refine_predictions,
)
from lib.objectives.pareto_da.losses import discriminator_loss, entropy, held_out_height
from lib.objectives.pareto_da.networks import PAPER, backbone, mlp
from lib.objectives.pareto_da.study import gaussian_refinement, harmed_without_guard, pcgrad, random_program, upgrad
from lib.objectives.pareto_da.weights import best_vertex, descent_program, guided_program

RNG = np.random.default_rng(0)


def probabilities(n=40, K=5, seed=0):
    return torch.softmax(torch.randn(n, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), 1)


# ------------------------------------------------------------------------------------------------------------- losses


def test_surrogate_at_its_ends():
    assert float(TCMLoss()(torch.full((7, 4), 0.25, dtype=torch.float64))) == pytest.approx(0, abs=1e-15)
    assert float(TCMLoss()(torch.eye(6, dtype=torch.float64).repeat(3, 1))) == pytest.approx(-math.log(6), rel=1e-14)
    assert held_out_height(-math.log(6), 6) == pytest.approx(0, abs=1e-15)


def test_surrogate_is_minus_the_mutual_information():
    p = probabilities()
    joint = p / len(p)  # of sample and class
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    assert float(TCMLoss()(p)) == pytest.approx(-float((joint * (joint / independent).log()).sum()), rel=1e-12)


def test_surrogate_does_not_see_the_order():
    p = probabilities()
    torch.testing.assert_close(TCMLoss()(p[torch.randperm(40)][:, torch.randperm(5)]), TCMLoss()(p), rtol=1e-12, atol=0)


def test_surrogate_gradient_is_the_formula():
    z = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    p = torch.softmax(z, 1)
    (found,) = torch.autograd.grad(TCMLoss()(p), z)
    inner = -(p.log() - p.mean(0).log()) / len(p)  # slope in p; the softmax takes out its mean
    by_hand = p * (inner - (p * inner).sum(1, keepdim=True))
    torch.testing.assert_close(found, by_hand.detach(), rtol=1e-10, atol=1e-14)


def test_saturated_probabilities_have_a_gradient_without_nan():
    z = torch.tensor([[2000.0, 0.0], [0.0, 2000.0]], requires_grad=True)
    loss = TCMLoss()(torch.softmax(z, 1))
    (found,) = torch.autograd.grad(loss, z)
    assert torch.isfinite(found).all()
    assert float(loss.detach()) == pytest.approx(-math.log(2), rel=1e-6)


def test_half_precision_is_summed_in_single():
    p = probabilities(4000, 10).half()
    assert TCMLoss()(p).dtype == torch.float32
    torch.testing.assert_close(TCMLoss()(p), TCMLoss()(p.float() / p.float().sum(1, keepdim=True)), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("bad", [torch.ones(3, 2), torch.tensor([[1.5, -0.5]]), torch.tensor([[math.nan, 1.0]]), torch.ones(4)])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="prob"):
        TCMLoss()(bad)


def test_entropy_of_a_coin():
    assert float(entropy(torch.tensor([0.5, 0.5]))) == pytest.approx(math.log(2), rel=1e-6)


def test_equal_domains_refine_nothing_and_rows_sum_to_one():
    z, u = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    torch.testing.assert_close(refine_predictions(z, torch.full_like(z, 0.7)), torch.softmax(z, 1), rtol=1e-12, atol=0)
    for mode in ("bayes", "logits", "none"):
        torch.testing.assert_close(refine_predictions(z, u, mode).sum(1), torch.ones(9, dtype=torch.float64))


def test_refinement_is_bayes_rule():
    z, u = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    product = torch.softmax(z, 1) * torch.sigmoid(u)
    torch.testing.assert_close(refine_predictions(z, u), product / product.sum(1, keepdim=True))
    torch.testing.assert_close(refine_predictions(z, u, "logits"), torch.softmax(z * torch.sigmoid(u), 1))


@pytest.mark.parametrize("shift", [-1.0, 0.3, 2.0])
def test_refinement_of_gaussian_domains_is_the_target_posterior(shift):
    mixture, refined, truth = gaussian_refinement(shift)
    np.testing.assert_allclose(refined, truth, atol=1e-12)
    assert abs(mixture - truth).max() > 0.02


def test_discriminator_loss_by_hand():
    u_s, u_t = torch.randn(6, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    y, rho = torch.tensor([0, 2, 1, 1, 0, 2]), probabilities(4, 3)
    total = -sum(math.log(1 - 1 / (1 + math.exp(-u_s[i, y[i]]))) for i in range(6)) / 6
    total -= sum(float(rho[i, k]) * math.log(1 / (1 + math.exp(-u_t[i, k]))) for i in range(4) for k in range(3)) / 4
    assert float(discriminator_loss(u_s, y, u_t, rho)) == pytest.approx(total / 2, rel=1e-12)


def test_class_discriminators_are_separate_networks():
    net = ClassDomainDiscriminators(5, 3, hidden=4).double()
    f = torch.randn(7, 5, dtype=torch.float64)
    for k in range(3):
        W, b = net.weight1[:, 4 * k : 4 * k + 4], net.bias1[4 * k : 4 * k + 4]
        torch.testing.assert_close(net(f)[:, k], torch.relu(f @ W + b) @ net.weight2[k] + net.bias2[k])


# ----------------------------------------------------------------------------------------------------------- programs


def brute_force(c, A, r):
    """The program by an independent solver, another algorithm."""
    kept = np.isfinite(r)
    told = linprog(-c, A_ub=-A[kept] if kept.any() else None, b_ub=-r[kept] if kept.any() else None, A_eq=np.ones((1, len(c))),
                   b_eq=[1], method="highs-ipm", options={"primal_feasibility_tolerance": 1e-10})  # fmt: skip
    return -told.fun if told.status == 0 else None


@pytest.mark.parametrize(("m", "solver"), [(2, "vertices"), (3, "vertices"), (4, "vertices"), (3, "highs"), (6, "highs")])
def test_guided_program_is_solved(m, solver):
    rng = np.random.default_rng(m)
    for _ in range(60 if solver == "vertices" else 10):
        C, a = random_program(rng, m, dim=8)
        found = pareto_weights(C, a, guard=False, solver=solver)
        c, A, r = guided_program(C, a)
        scale = abs(C).max()
        assert found.success
        assert found.fun == pytest.approx(
            brute_force(c / scale, A / scale, r / scale) * scale, abs=2e-6 * max(scale, abs(a).max())
        )
        np.testing.assert_allclose(found.x.sum(), 1, rtol=1e-12)
        assert (found.x >= 0).all()
        assert (found.slack >= -1e-7 * abs(C).max()).all()


def test_guided_constraints_are_those_of_the_three_cases():
    C, a = np.eye(3), np.array([0.5, 0.8, -0.2])
    np.testing.assert_array_equal(guided_program(C, a)[2], [-np.inf, 0, -0.2])
    np.testing.assert_array_equal(guided_program(C, np.array([0.5, 0.0, -0.2]))[2], [0, 0, -0.2])
    np.testing.assert_array_equal(guided_program(C, -np.ones(3))[2], [0, 0, 0])
    np.testing.assert_allclose(descent_program(np.diag([3.0, 6.0, 9.0]))[0], [1, 2, 3])


def test_a_guide_equal_to_one_of_orthogonal_gradients_takes_it_alone():
    lengths = np.array([1.0, 4.0, 2.0])
    for j in range(3):
        np.testing.assert_allclose(pareto_weights(np.diag(lengths), lengths * np.eye(3)[j]).x, np.eye(3)[j])


def test_no_objective_agrees_then_none_is_hurt():
    rng, seen = np.random.default_rng(5), 0
    for _ in range(60):
        C, a = random_program(rng)
        found = pareto_weights(C, -abs(a))
        assert (C @ found.x >= -1e-8 * abs(C).max()).all()
        seen += found.mode in ("guided", "guard")
    assert seen == 60


def test_at_the_least_held_out_loss_it_is_pure_descent():
    C, a = random_program(3)
    low, descent = pareto_weights(C, a, val_loss=1e-4), pareto_weights(C, mode="descent")
    assert low.mode == descent.mode == "descent"
    np.testing.assert_array_equal(low.x, descent.x)
    c, A, r = descent_program(C)
    assert descent.fun == pytest.approx(brute_force(c, A, r), rel=1e-6)
    assert (C @ low.x >= -1e-9 * abs(C).max()).all()


def test_without_the_guard_objectives_are_hurt_for_nothing():
    turned, hurt, kept = harmed_without_guard(400, seed=0)
    assert turned > 20
    assert hurt > 0
    assert kept == 0


def test_guided_direction_that_helps_is_kept_by_the_guard():
    rng = np.random.default_rng(8)
    for _ in range(100):
        C, a = random_program(rng)
        bare, kept = pareto_weights(C, a, guard=False), pareto_weights(C, a)
        if bare.fun > 0:
            np.testing.assert_array_equal(bare.x, kept.x)
            assert kept.mode == "guided"
        else:
            assert kept.mode == "guard"
            assert kept.nit == 2


def test_dominance_program_may_have_no_solution_and_says_so():
    rng, failed = np.random.default_rng(2), 0
    for _ in range(80):
        C, a = random_program(rng)
        found = pareto_weights(C, a, mode="dominance")
        value = brute_force(C.sum(0), np.vstack([C, a]), np.append(np.zeros(3), min(a.max(), 0)))
        assert found.success == (value is not None)
        if not found.success:
            failed += 1
            assert found.status == 2
            np.testing.assert_allclose(found.x, 1 / 3)
        else:
            assert (C @ found.x >= -1e-8 * abs(C).max()).all()
            assert a @ found.x >= min(a.max(), 0) - 1e-8 * abs(a).max()
    assert 0 < failed < 80


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_units_do_not_matter(factor):
    C, a = random_program(7)
    np.testing.assert_allclose(pareto_weights(C * factor, a * factor).x, pareto_weights(C, a).x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(min_norm_weights(C * factor), min_norm_weights(C), rtol=1e-9)


def test_a_longer_gradient_violates_nothing():
    C, a = random_program(11)
    scale = np.array([10.0, 1.0, 1.0])
    found = pareto_weights(C * np.outer(scale, scale), a * scale)
    assert (found.slack >= -1e-7 * abs(C).max() * 100).all()


def test_equal_gradients_give_the_same_direction():
    found = pareto_weights(np.ones((3, 3)), np.ones(3))
    assert found.x.sum() == pytest.approx(1)
    assert found.fun == pytest.approx(1)


def test_gradients_that_are_all_zero_are_said_to_be():
    found = pareto_weights(np.zeros((3, 3)), np.zeros(3))
    assert found.mode == "zero"
    assert "zero" in found.message
    np.testing.assert_allclose(found.x, 1 / 3)
    np.testing.assert_allclose(min_norm_weights(np.zeros((3, 3))), 1 / 3)


def test_one_zero_gradient_is_no_trouble():
    C = np.diag([1.0, 0.0, 2.0])
    assert pareto_weights(C, [0.5, 0.0, 0.1]).success
    np.testing.assert_allclose(min_norm_weights(C), [0, 1, 0], atol=1e-12)


def test_best_vertex_breaks_ties_by_place():
    np.testing.assert_array_equal(best_vertex(np.ones(3), np.zeros((0, 3)), np.zeros(0)), [0, 0, 1])


def test_min_norm_is_the_closed_form_for_two():
    rng = np.random.default_rng(1)
    for _ in range(100):
        C, _ = random_program(rng, 2)
        share = np.clip((C[1, 1] - C[0, 1]) / (C[0, 0] + C[1, 1] - 2 * C[0, 1]), 0, 1)
        np.testing.assert_allclose(min_norm_weights(C), [share, 1 - share], atol=1e-9)


def test_min_norm_against_a_general_solver_and_its_conditions():
    rng = np.random.default_rng(4)
    for _ in range(20):
        C, _ = random_program(rng, 4)
        C = C / abs(C).max()
        w = min_norm_weights(C)
        simplex = {"type": "eq", "fun": lambda v: v.sum() - 1}
        options = {"bounds": [(0, 1)] * 4, "method": "SLSQP", "constraints": simplex, "options": {"ftol": 1e-14}}
        told = minimize(lambda v, C=C: v @ C @ v, np.full(4, 0.25), jac=lambda v, C=C: 2 * C @ v, **options)
        assert w @ C @ w <= told.fun + 1e-9
        assert (C @ w >= w @ C @ w - 1e-9).all()
        assert w @ C @ w <= C.diagonal().min() + 1e-12


def test_pcgrad_by_hand():
    np.testing.assert_allclose(pcgrad([[1, 0.5], [0.5, 1]]), [1, 1])
    np.testing.assert_allclose(pcgrad([[1, -0.5], [-0.5, 4]]), [1.5, 1.125])


def test_upgrad_is_the_sum_of_nearest_directions_that_hurt_nobody():
    np.testing.assert_allclose(upgrad([[1, 0.5], [0.5, 1]]), [1, 1])
    np.testing.assert_allclose(upgrad(np.zeros((3, 3))), [1, 1, 1])
    rng = np.random.default_rng(9)
    for _ in range(10):
        G = rng.normal(size=(3, 5)) * rng.lognormal(size=(3, 1))
        total = np.zeros(5)
        for g in G:
            harmless = {"type": "ineq", "fun": lambda d, G=G: G @ d, "jac": lambda d, G=G: G}
            told = minimize(lambda d, g=g: ((d - g) ** 2).sum(), g, jac=lambda d, g=g: 2 * (d - g), method="SLSQP",
                            constraints=harmless, options={"ftol": 1e-14, "maxiter": 500})  # fmt: skip
            total += told.x
        found = upgrad(G @ G.T) @ G
        np.testing.assert_allclose(found, total, atol=1e-5 * abs(G).max())
        assert (G @ found >= -1e-9 * abs(G @ G.T).max()).all()
    with pytest.raises(ValueError, match="C"):
        upgrad(np.ones((2, 3)))


def test_upgrad_is_torchjds_without_its_regularization():
    aggregation, linalg = pytest.importorskip("torchjd.aggregation"), pytest.importorskip("torchjd.linalg")
    pytest.importorskip("quadprog")
    exact = aggregation.UPGrad(projector=linalg.QuadprogProjector(norm_eps=1e-12, reg_eps=1e-10))
    rng = np.random.default_rng(0)
    for m in (2, 3, 4):
        G = rng.normal(size=(m, 7)) * rng.lognormal(size=(m, 1))
        mine = upgrad(G @ G.T) @ G / m  # theirs is the mean
        np.testing.assert_allclose(mine, exact(torch.from_numpy(G)).numpy(), atol=1e-5 * abs(mine).max())


def test_min_norm_and_pcgrad_are_torchjds():
    aggregation = pytest.importorskip("torchjd.aggregation")
    rng = np.random.default_rng(6)
    for _ in range(2):
        G = rng.normal(size=(3, 7))
        J = torch.from_numpy(G)
        theirs = aggregation.MGDA(epsilon=1e-12, max_iters=4000)(J).numpy()
        np.testing.assert_allclose(min_norm_weights(G @ G.T) @ G, theirs, atol=2e-2 * abs(theirs).max())
        torch.manual_seed(0)
        mean = np.mean([aggregation.PCGrad()(J).numpy() for _ in range(150)], axis=0)
        np.testing.assert_allclose(pcgrad(G @ G.T) @ G, mean, atol=0.15 * abs(mean).max())


@pytest.mark.parametrize("bad", [np.ones((2, 3)), [[1.0]], [[1, 2], [3, 1]], [[-1, 0], [0, 1]], [[np.nan, 0], [0, 1]]])
def test_what_is_no_gram_matrix_is_refused(bad):
    for call in (min_norm_weights, lambda C: pareto_weights(C, [1.0, 1.0])):
        with pytest.raises(ValueError, match="gram"):
            call(bad)


def test_bad_arguments_of_the_program():
    with pytest.raises(ValueError, match="guide"):
        pareto_weights(np.eye(3))
    with pytest.raises(ValueError, match="guide"):
        pareto_weights(np.eye(3), [1.0, 2.0])
    with pytest.raises(ValueError, match="mode"):
        pareto_weights(np.eye(3), np.ones(3), mode="other")
    with pytest.raises(ValueError, match="solver"):
        pareto_weights(np.eye(3), np.ones(3), solver="simplex")
    with pytest.raises(ValueError, match="solver 'vertices' is for up to 8"):  # 12 objectives have 2.5 million vertices
        pareto_weights(np.eye(12), np.ones(12), solver="vertices")
    with pytest.raises(TypeError, match="f must be a tensor"):
        ClassDomainDiscriminators(2, 2)([[1.0, 2.0]])


# ----------------------------------------------------------------------------------------------------------- settings


def test_defaults_are_the_papers():
    import inspect

    assert inspect.signature(pareto_weights).parameters["eps"].default == 1e-3
    expected = {"bottleneck": 256, "hidden": 1024, "lr": 1e-3, "backbone_lr_factor": 0.1, "momentum": 0.9, "weight_decay": 1e-3,
                "lr_gamma": 0.001, "lr_power": 0.75, "ramp": 500.0, "batch_size": 32, "iterations": 30_000, "held_out": 0.1,
                "eps": 1e-3, "backbone": "resnet101"}  # fmt: skip
    assert expected == PAPER


def test_a_backbone_needs_torchvision_and_says_so():
    try:
        import torchvision  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="torchvision"):
            backbone("resnet50", pretrained=False)
    with pytest.raises(ValueError, match="name"):
        backbone("vgg")


@pytest.mark.parametrize("made", [TCMLoss(), ClassDomainDiscriminators(3, 2), mlp([3, 4, 2])], ids=lambda m: type(m).__name__)
def test_modules_survive_copies(made):
    x = torch.tensor([[0.2, 0.3, 0.5]])
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        torch.testing.assert_close(again(x), made(x))
