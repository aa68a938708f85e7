"""Reward-based noise optimization: the regularizer, the ascent and what it keeps, against closed forms and libraries."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from lib.objectives import reno
from lib.objectives.reno.rewards import frozen

torch.set_num_threads(1)
CODES = torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [0.0, 1.0, -1.0, 0.5, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0, 0.0, 1.0]]).double()


class Painter(nn.Module):
    """A small generator with weights, dropout and batch statistics, in double precision."""

    noise_shape = (6,)
    dtype = torch.float64

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(12, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Dropout(0.5), nn.Linear(16, 12)
        ).double()

    def forward(self, noise, prompts):
        return self.layers(torch.cat([noise, prompts], 1)).sigmoid().view(-1, 3, 2, 2)


class Score(nn.Module):
    def __init__(self, seed, size=1.0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.drop, self.size = nn.Linear(18, 1).double(), nn.Dropout(0.5), size

    def forward(self, images, prompts):
        return self.size * self.drop(self.layer(torch.cat([images.flatten(1), prompts], 1))).squeeze(1)


def ensemble(*weights):
    return reno.RewardEnsemble({name: (Score(seed), w) for seed, (name, w) in enumerate(zip("abc", weights, strict=False), 1)})


def optimizer(**settings):
    return reno.NoiseOptimizer(Painter(), ensemble(1.0, 0.5), **{"n_iter": 12, "lr": 2.0, **settings})


def noise_of(count=3, seed=0, shape=(6,)):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, *shape)))


def identity(shape):
    return reno.FunctionGenerator(lambda noise, prompts: noise, shape)


# ------------------------------------------------------------------------------------------------ the norm, (2) and (5)


@pytest.mark.parametrize("d", [1, 2, 7, 32, 16384])
def test_regularizer_is_the_log_density_of_the_norm(d):
    noise = torch.from_numpy(np.random.default_rng(d).standard_normal((5, d))) * torch.tensor(
        [[0.5], [0.9], [1.0], [1.1], [2.0]]
    )
    density = scipy.stats.chi(d).logpdf(noise.norm(dim=1).numpy())
    difference = reno.chi_norm_regularizer(noise).numpy() - density
    np.testing.assert_allclose(difference, difference[0], atol=1e-8)


def test_regularizer_gradient_is_stationary_where_the_norm_is_the_root_of_d_less_one():
    noise = noise_of(4).requires_grad_(True)
    found = torch.autograd.grad(reno.chi_norm_regularizer(noise).sum(), noise)[0]
    wanted = ((6 - 1) / noise.square().sum(1, keepdim=True) - 1) * noise
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    there = (noise.detach() * math.sqrt(5) / noise.detach().norm(dim=1, keepdim=True)).requires_grad_(True)
    assert torch.autograd.grad(reno.chi_norm_regularizer(there).sum(), there)[0].abs().max() < 1e-12


@pytest.mark.parametrize("d", [4, 64, 16384])
def test_curvature_at_the_top_is_minus_two_whatever_the_dimension(d):
    radius = torch.tensor([[math.sqrt(d - 1)]], dtype=torch.float64, requires_grad=True)
    direction = torch.full((1, d), 1 / math.sqrt(d), dtype=torch.float64)
    value = reno.chi_norm_regularizer(radius * direction)
    slope = torch.autograd.grad(value.sum(), radius, create_graph=True)[0]
    assert torch.autograd.grad(slope.sum(), radius)[0].item() == pytest.approx(-2, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_of_a_latent_does_not_overflow(dtype):
    noise = (3 * noise_of(2, shape=(4, 64, 64))).to(dtype).requires_grad_(True)
    assert noise.detach().square().sum(dtype=torch.float64) / 2 > torch.finfo(torch.float16).max
    found = reno.chi_norm_regularizer(noise)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), reno.chi_norm_regularizer(noise.detach().double()), rtol=1e-5, atol=0.1)
    assert torch.isfinite(torch.autograd.grad(found.sum(), noise)[0]).all()


@pytest.mark.parametrize("bad", [torch.zeros(2, 3), torch.ones(3), torch.full((1, 4), 1e30)])
def test_regularizer_refuses_what_has_no_norm(bad):
    with pytest.raises(ValueError, match="noise must have"):
        reno.chi_norm_regularizer(bad)


def test_learning_rate_of_other_dimensions():
    assert reno.auto_lr(16384) == 5.0
    assert reno.auto_lr(32) == pytest.approx(0.2209708691)
    assert reno.NoiseOptimizer(identity((4, 128, 128)), ensemble(1.0)).lr == 10.0


# ------------------------------------------------------------------------------------------------------ steps, (3) and (4)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.5, True), (0.0, False)])
def test_steps_are_those_of_torch(momentum, nesterov):
    noise, velocity = noise_of(), None
    leaf = noise.clone().requires_grad_(True)
    peer = torch.optim.SGD([leaf], lr=0.3, momentum=momentum, nesterov=nesterov)
    for t in range(6):
        gradient = noise_of(seed=t)
        leaf.grad = -gradient
        peer.step()
        noise, velocity = reno.nesterov_ascent(noise, gradient, velocity, 0.3, momentum, nesterov)
        torch.testing.assert_close(noise, leaf.detach(), rtol=1e-13, atol=1e-13)


def test_adam_is_that_of_torch():
    from lib.objectives.reno.steps import adam_ascent

    noise, moments = noise_of(), None
    leaf = noise.clone().requires_grad_(True)
    peer = torch.optim.Adam([leaf], lr=0.3, eps=1e-2)
    for t in range(6):
        gradient = noise_of(seed=t)
        leaf.grad = -gradient
        peer.step()
        noise, moments = adam_ascent(noise, gradient, moments, 0.3)
        torch.testing.assert_close(noise, leaf.detach(), rtol=1e-12, atol=1e-12)


def test_clipping_is_that_of_torch_in_each_sample():
    gradient = noise_of(5, shape=(2, 3)) * torch.tensor([0.0, 0.01, 0.1, 1.0, 10.0]).view(-1, 1, 1)
    found = reno.clip_by_sample(gradient, 0.1)
    for row, wanted in zip(found, gradient, strict=True):
        leaf = nn.Parameter(torch.zeros_like(wanted))
        leaf.grad = wanted.clone()
        nn.utils.clip_grad_norm_([leaf], 0.1)
        torch.testing.assert_close(row, leaf.grad)
    assert reno.clip_by_sample(gradient, math.inf).equal(gradient)
    assert reno.clip_by_sample(torch.full((1, 16384), 60.0, dtype=torch.float16), 0.1).dtype == torch.float16


@pytest.mark.parametrize("nesterov", [True, False])
def test_no_step_is_longer_than_the_learning_rate_allows(nesterov):
    lr, clip, momentum, seen = 3.0, 0.1, 0.9, []
    run = optimizer(n_iter=60, lr=lr, clip=clip, momentum=momentum, nesterov=nesterov, reg=10.0)
    run.run(CODES, noise_of() * 50, callback=lambda t, images, noise, rewards: seen.append(noise.clone()))
    lengths = torch.stack([(b - a).norm(dim=1) for a, b in itertools.pairwise(seen)])
    assert lengths.max() <= lr * clip / (1 - momentum) * (1 + 1e-9)
    assert lengths.max() > 0.95 * lr * clip / (1 - momentum)  # a constant pull comes close


# ------------------------------------------------------------------------------------------------------------ the ascent


def by_hand(run, prompts, noise):
    """Algorithm 1 for one prompt with torch's optimizer and clipping, as the official code goes about it."""
    leaf = nn.Parameter(noise.clone())
    peer = torch.optim.SGD([leaf], lr=run.lr, momentum=run.momentum, nesterov=run.nesterov)
    best, seen = (-math.inf, None), []
    generator, rewards = copy.deepcopy(run.generator).eval(), copy.deepcopy(run.rewards).eval()
    for t in range(run.n_iter):
        peer.zero_grad()
        images = generator(leaf, prompts)
        total = rewards(images, prompts)[1].sum()
        seen.append(leaf.detach().clone())
        if total > best[0]:
            best = (total.item(), images.detach(), t)
        norm = torch.linalg.vector_norm(leaf)
        (-total + run.reg * (0.5 * norm**2 - (leaf.numel() - 1) * norm.log())).backward()
        if t != run.n_iter - 1:
            nn.utils.clip_grad_norm_([leaf], run.clip)
            peer.step()
    return best, torch.stack(seen)


@pytest.mark.parametrize(
    "settings",
    [{}, {"reg": 1.0}, {"nesterov": False}, {"clip": math.inf, "lr": 0.05}, {"momentum": 0.0, "nesterov": False}],
)
def test_run_is_the_official_loop_prompt_by_prompt(settings):
    run, seen = optimizer(**settings), []
    found = run.run(CODES, noise_of(), callback=lambda t, images, noise, rewards: seen.append(noise.clone()))
    for i in range(3):
        (total, images, at), path = by_hand(run, CODES[i : i + 1], noise_of()[i : i + 1])
        torch.testing.assert_close(torch.stack(seen)[:, i], path[:, 0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.images[i], images[0], rtol=1e-9, atol=1e-9)
        assert found.rewards_best["total"][i].item() == pytest.approx(total, abs=1e-9)
        assert found.best_iter[i] == at


def test_one_iteration_is_the_initial_image_and_no_update():
    found = optimizer(n_iter=1).run(CODES, noise_of())
    assert found.images.equal(found.init_images)
    assert found.noise.equal(noise_of())
    assert found.gain.eq(0).all()
    assert (found.forwards.tolist(), found.backwards.tolist()) == ([1] * 3, [0] * 3)


@pytest.mark.parametrize("settings", [{}, {"lr": 1e3}, {"optimizer": "adam"}, {"optimizer": "best_of_n"}, {"draws": 5}])
def test_no_result_is_worse_than_the_first_image(settings):
    found = optimizer(**settings).run(CODES, noise_of())
    assert (found.gain >= 0).all()
    totals = found.history["total"]
    assert totals.shape == (12, 3)
    assert found.rewards_best["total"].equal(totals.max(0).values)
    assert found.best_iter.equal(totals.argmax(0))
    assert found.rewards_init["total"].equal(totals[0])
    climbed = {"optimizer": 0, "draws": 6}.get(next(iter(settings), ""), 11) if settings.get("optimizer") != "adam" else 11
    assert (found.forwards.tolist(), found.backwards.tolist()) == ([12] * 3, [climbed] * 3)


def test_what_is_kept_belongs_together():
    run = optimizer(lr=100.0)
    found = run.run(CODES, noise_of())
    with frozen(run.generator, run.rewards), torch.no_grad():
        for images, noise, rewards in ((found.images, found.noise, found.rewards_best),
                                       (found.init_images, found.init_noise, found.rewards_init)):  # fmt: skip
            torch.testing.assert_close(run.generator(noise, CODES), images)
            values, total = run.rewards(images, CODES)
            assert all(values[name].allclose(rewards[name]) for name in "ab")
            torch.testing.assert_close(rewards["total"], total)
            torch.testing.assert_close(total, values["a"] + 0.5 * values["b"])


def test_ties_keep_the_earlier_image():
    flat = reno.RewardEnsemble({"flat": (lambda images, prompts: images.sum(1).clamp(max=-100.0), 1.0)})
    found = reno.NoiseOptimizer(identity((6,)), flat, n_iter=5, lr=1.0, reg=1.0).run(CODES, noise_of())
    assert found.best_iter.tolist() == [0, 0, 0]
    assert found.noise.equal(noise_of())
    assert found.history["norm"][-1].ne(found.history["norm"][0]).all()


def test_the_best_is_chosen_by_reward_not_by_the_regularizer():
    short = reno.RewardEnsemble({"short": (lambda images, prompts: -1e-3 * images.norm(dim=1), 1.0)})
    start = noise_of() / noise_of().norm(dim=1, keepdim=True) * 0.5  # the regularizer wants it longer, the reward shorter
    found = reno.NoiseOptimizer(identity((6,)), short, n_iter=10, lr=1.0, reg=1.0).run(CODES, start)
    assert (found.history["norm"][-1] > 1).all()
    assert found.best_iter.tolist() == [0, 0, 0]


def test_a_quadratic_reward_leads_to_least_squares():
    rng = np.random.default_rng(1)
    A, b = torch.from_numpy(rng.standard_normal((9, 6))), torch.from_numpy(rng.standard_normal((3, 9)))
    rewards = reno.RewardEnsemble({"fit": (lambda images, prompts: -(images @ A.T - prompts).square().sum(1), 1.0)})
    run = reno.NoiseOptimizer(
        identity((6,)), rewards, n_iter=3000, lr=0.02, clip=math.inf, reg=0.0, momentum=0.0, nesterov=False
    )
    found = run.run(b, noise_of())
    torch.testing.assert_close(found.state.noise, torch.linalg.lstsq(A, b.T).solution.T, rtol=1e-8, atol=1e-8)
    bent = reno.NoiseOptimizer(identity((6,)), rewards, n_iter=30, lr=1.0, optimizer="lbfgs", reg=0.0).run(b, noise_of())
    torch.testing.assert_close(bent.noise, torch.linalg.lstsq(A, b.T).solution.T, rtol=1e-4, atol=1e-4)


def test_a_constant_reward_changes_only_the_norm():
    rewards = reno.RewardEnsemble({"constant": (lambda images, prompts: 0.0 * images.sum(1), 1.0)})
    found = reno.NoiseOptimizer(identity((6,)), rewards, n_iter=400, lr=0.5, clip=0.1).run(CODES, 3 * noise_of())
    still = reno.NoiseOptimizer(identity((6,)), rewards, n_iter=400, lr=0.5, reg=0.0).run(CODES, 3 * noise_of())
    assert still.state.noise.equal(3 * noise_of())
    end = reno.NoiseOptimizer(identity((6,)), rewards, n_iter=3000, lr=1.0, reg=0.1).run(CODES, 3 * noise_of()).state.noise
    torch.testing.assert_close(end.norm(dim=1), torch.full((3,), math.sqrt(5)).double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(end / end.norm(dim=1, keepdim=True), noise_of() / noise_of().norm(dim=1, keepdim=True))
    assert ((found.state.noise.norm(dim=1) - math.sqrt(5)).abs() < (3 * noise_of().norm(dim=1) - math.sqrt(5)).abs()).all()


@pytest.mark.parametrize("kind", ["sgd", "adam", "lbfgs"])
def test_prompts_do_not_feel_each_other(kind):
    run = optimizer(optimizer=kind, n_iter=6, lr=0.5)
    together = run.run(CODES, noise_of())
    for i in range(3):
        alone = run.run(CODES[i : i + 1], noise_of()[i : i + 1])
        torch.testing.assert_close(alone.state.noise[0], together.state.noise[i], rtol=1e-5, atol=1e-5)
        for name, rows in alone.history.items():
            torch.testing.assert_close(rows[:, 0], together.history[name][:, i], rtol=1e-5, atol=1e-5)
        assert alone.forwards[0] == together.forwards[i]


def test_lbfgs_counts_every_image_and_climbs():
    found = optimizer(optimizer="lbfgs", n_iter=6, lr=1.0, reg=0.5).run(CODES, noise_of())
    assert (found.gain > 0).all()
    assert (found.forwards - 6).equal(found.backwards)
    assert (found.backwards > 10).all()
    run = optimizer(n_iter=1, reg=0.5)
    with frozen(run.generator, run.rewards):
        objective = [
            (run.rewards(run.generator(noise, CODES), CODES)[1] + 0.5 * reno.chi_norm_regularizer(noise)).detach()
            for noise in (found.init_noise, found.state.noise)
        ]
    assert (objective[1] > objective[0]).all()


# ------------------------------------------------------------------------------------- what is left alone, and what remains


def test_weights_modes_and_gradients_are_left_alone():
    run = optimizer()
    run.generator.layers[0].weight.requires_grad_(False)
    run.generator.layers[3].eval()
    run.rewards.train()
    parts = (run.generator, run.rewards)
    before = copy.deepcopy(parts)
    for kind in reno.OPTIMIZERS:
        run.optimizer = kind
        run.run(CODES, noise_of())
    for part, kept in zip(parts, before, strict=True):
        for (name, value), wanted in zip(part.state_dict().items(), kept.state_dict().values(), strict=True):
            assert value.equal(wanted), name
        assert all(weight.grad is None for weight in part.parameters())
        assert [m.training for m in part.modules()] == [m.training for m in kept.modules()]
        assert [p.requires_grad for p in part.parameters()] == [p.requires_grad for p in kept.parameters()]
    with pytest.raises(ValueError, match="reward 'a' must be finite"):
        run.run(CODES, noise_of(), callback=lambda t, images, noise, rewards: run.generator.layers[0].bias.data.fill_(math.nan))
    assert run.rewards.training
    assert run.generator.layers[0].bias.requires_grad


def test_modules_are_found_behind_functions_and_objects():
    painter, score = Painter(), Score(1)
    rewards = reno.RewardEnsemble({"a": (score.forward, 1.0)})
    generator = reno.FunctionGenerator(painter, (6,))
    with frozen(generator, rewards):
        assert not any(m.training for m in [*painter.modules(), *score.modules()])
        assert not any(p.requires_grad for p in [*painter.parameters(), *score.parameters()])
    assert painter.training
    assert score.layer.weight.requires_grad


def test_noise_is_drawn_in_the_type_of_the_weights():
    flat = {"flat": (lambda images, prompts: images.sum(1), 1.0)}
    for dtype in (torch.float32, torch.float64):
        generator = reno.FunctionGenerator(nn.Bilinear(6, 6, 6, dtype=dtype), (6,))
        assert reno.best_of_n(generator, flat, CODES.to(dtype), 1, seed=0).noise.dtype == dtype
    assert reno.best_of_n(identity((6,)), flat, CODES, 1, seed=0).noise.dtype == torch.float32


@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "adam"}, {"optimizer": "lbfgs", "lr": 0.5}, {"optimizer": "best_of_n"}, {"draws": 4}]
)
@pytest.mark.parametrize("cut", [1, 3, 4, 5])
def test_a_run_that_is_taken_up_goes_on_alike(settings, cut):
    whole = optimizer(n_iter=8, **settings).run(CODES, seed=1)
    part = optimizer(n_iter=8, **settings)
    part.n_iter = cut
    stopped = part.run(CODES, seed=1)
    kept = copy.deepcopy(stopped)
    found = optimizer(n_iter=8, **settings).resume(pickle.loads(pickle.dumps(stopped)), CODES, 8 - cut)
    for name in ("images", "noise", "init_images", "init_noise", "best_iter"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=0, atol=0)
    for name, rows in whole.history.items():
        assert found.history[name].equal(rows)
    assert found.state.noise.equal(whole.state.noise)
    assert found.state.iteration == 8
    assert stopped.noise.equal(kept.noise)
    again = optimizer(n_iter=8, **settings).resume(stopped, CODES, 8 - cut)
    assert again.images.equal(whole.images)
    climbs = not settings or settings.get("optimizer") == "adam" or (settings.get("draws") == 4 and cut == 5)
    assert (found.forwards - whole.forwards).tolist() == [int(climbs)] * 3
    assert found.backwards.equal(whole.backwards)


def test_half_precision_iterates_are_kept_in_single():
    seen = []

    def painted(noise, prompts):
        seen.append(noise.dtype)
        return noise.sigmoid()

    rewards = reno.RewardEnsemble({"bright": (lambda images, prompts: images.flatten(1).mean(1), 100.0)})
    run = reno.NoiseOptimizer(reno.FunctionGenerator(painted, (4, 64, 64)), rewards, n_iter=4)
    found = run.run(["wall"], noise_of(1, shape=(4, 64, 64)).half())
    assert set(seen) == {torch.float16}
    assert (found.noise.dtype, found.images.dtype, found.state.noise.dtype) == (torch.float16, torch.float16, torch.float32)
    assert found.rewards_best["total"].dtype == torch.float32
    assert found.gain > 0
    assert torch.isfinite(found.history["norm"]).all()


# -------------------------------------------------------------------------------------------- best of n, hybrid, rewards


def test_best_of_one_is_the_first_and_more_is_never_worse():
    painter, rewards = Painter(), ensemble(1.0, 0.5)
    one = reno.best_of_n(painter, rewards, CODES, 1, seed=3)
    assert one.images.equal(one.init_images)
    assert one.noise.dtype == torch.float64
    totals = [reno.best_of_n(painter, rewards, CODES, n, seed=3).rewards_best["total"] for n in (1, 2, 4, 8, 16)]
    assert all((b >= a).all() for a, b in itertools.pairwise(totals))
    assert (totals[-1] > totals[0]).all()
    given = reno.best_of_n(painter, rewards, CODES, 3, noise=noise_of(), seed=3)
    assert given.init_noise.equal(noise_of())
    assert given.history["total"][1].ne(given.history["total"][0]).all()


def test_hybrid_draws_then_climbs_from_the_best():
    painter, rewards, seen = Painter(), ensemble(1.0, 0.5), []
    run = reno.NoiseOptimizer(painter, rewards, n_iter=10, lr=2.0, draws=4)
    found = run.run(CODES, seed=5, callback=lambda t, images, noise, rewards: seen.append(noise.clone()))
    best = reno.best_of_n(painter, rewards, CODES, 4, seed=5)
    assert seen[4].equal(best.noise)
    climb = reno.NoiseOptimizer(painter, rewards, n_iter=6, lr=2.0).run(CODES, best.noise)
    assert found.state.noise.equal(climb.state.noise)
    assert found.rewards_best["total"].equal(climb.rewards_best["total"])
    assert (found.forwards.tolist(), found.backwards.tolist()) == ([10] * 3, [5] * 3)
    only = reno.NoiseOptimizer(painter, rewards, n_iter=4, lr=2.0, draws=4).run(CODES, seed=5)
    assert only.noise.equal(best.noise)


def test_a_reward_of_weight_zero_is_watched_and_does_not_pull():
    alone = reno.NoiseOptimizer(Painter(), ensemble(1.0), n_iter=8, lr=2.0).run(CODES, noise_of())
    watched = reno.NoiseOptimizer(Painter(), ensemble(1.0, 0.0, 0.0), n_iter=8, lr=2.0).run(CODES, noise_of())
    assert watched.images.equal(alone.images)
    assert watched.history["total"].equal(alone.history["a"])
    assert watched.history["b"].shape == (8, 3)
    assert not watched.history["b"].equal(watched.history["a"])


def test_runs_are_deterministic():
    first, second = optimizer().run(CODES, seed=7), optimizer().run(CODES, seed=np.random.default_rng(7))
    assert first.images.equal(second.images)
    assert first.history["total"].equal(second.history["total"])
    assert not first.init_noise.equal(optimizer().run(CODES, seed=8).init_noise)
    state = torch.random.get_rng_state()
    optimizer().run(CODES, seed=7)
    assert state.equal(torch.random.get_rng_state())


# -------------------------------------------------------------------------------------------------------------- the door


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: optimizer(n_iter=0), ValueError, "n_iter"),
        (lambda: optimizer(n_iter=2.5), TypeError, "n_iter"),
        (lambda: optimizer(lr="fast"), TypeError, "lr"),
        (lambda: optimizer(lr=0.0), ValueError, "lr"),
        (lambda: optimizer(momentum=1.0), ValueError, "momentum"),
        (lambda: optimizer(optimizer="newton"), ValueError, "optimizer"),
        (lambda: optimizer(draws=13), ValueError, "draws"),
        (lambda: optimizer(reg=-1.0), ValueError, "reg"),
        (lambda: reno.NoiseOptimizer(lambda noise, prompts: noise, ensemble(1.0)), TypeError, "noise_shape"),
        (lambda: reno.NoiseOptimizer(Painter(), {}), ValueError, "rewards must not be empty"),
        (lambda: reno.NoiseOptimizer(Painter(), [Score(1)]), TypeError, "rewards must be a mapping"),
        (lambda: reno.RewardEnsemble({"total": (Score(1), 1.0)}), ValueError, "total"),
        (lambda: reno.RewardEnsemble({"a": Score(1)}), TypeError, "'a'"),
        (lambda: reno.RewardEnsemble({"a": (Score(1), -1.0)}), ValueError, "weight of 'a'"),
        (lambda: reno.RewardEnsemble({"a": (Score(1), 0.0)}), ValueError, "above zero"),
        (lambda: reno.FunctionGenerator(lambda noise, prompts: noise, ()), ValueError, "noise_shape"),
        (lambda: optimizer().run("a red cat"), TypeError, "sequence of prompts"),
        (lambda: optimizer().run([]), ValueError, "prompts must not be empty"),
        (lambda: optimizer().run(CODES, noise_of(2)), ValueError, r"noise must have shape \(3, 6\)"),
        (lambda: optimizer().run(CODES, noise_of() * math.nan), ValueError, "noise must be finite"),
        (lambda: optimizer().run(CODES, noise_of().numpy()), TypeError, "noise"),
        (lambda: optimizer().resume(None, CODES, 1), TypeError, "result"),
        (lambda: optimizer().resume(optimizer(n_iter=1).run(CODES, seed=0), CODES[:2], 1), ValueError, "prompts must be the 3"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("reward", "text"),
    [
        (lambda images, prompts: images.sum(1) * math.nan, "'bad' must be finite"),
        (lambda images, prompts: images, r"'bad' must return shape \(3,\)"),
        (lambda images, prompts: images.detach().sum(1), "differentiable"),
        (lambda images, prompts: images.sub(images.detach()).abs().sqrt().sum(1), "finite gradient"),
    ],
)
def test_bad_rewards_are_refused(reward, text):
    with pytest.raises(ValueError, match=text):
        reno.NoiseOptimizer(identity((6,)), {"bad": (reward, 1.0)}, n_iter=3).run(CODES, noise_of())


def test_a_generator_that_loses_images_is_refused():
    with pytest.raises(ValueError, match="generator must return 3 images"):
        reno.NoiseOptimizer(reno.FunctionGenerator(lambda n, p: n[:2], (6,)), ensemble(1.0)).run(CODES, noise_of())
