"""Mirror learning's drifts: flat at ratio one, their formulas, PPO as a special case; and the study's tools."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch

from lib.policies import temporal_lpg as ta
from lib.policies.temporal_lpg import study
from lib.policies.temporal_lpg.study import make_weights, quadratic, races, weights

F64 = torch.float64


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# --- the doors: shapes, types and clocks are named ---


BANDITS = ta.Agent(workers=4, steps=1, lr_actor=4.0)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"env": None}, TypeError, "env must be"),
        ({"agent": 3}, TypeError, "agent must be"),
        ({"clock": lambda n, N: (np.nan, N)}, ValueError, "clock must be finite"),
        ({"clock": lambda n, N: (n, 0)}, ValueError, "clock must be a finite number at least 1"),
        ({"clock": lambda n, N: n}, ValueError, "clock must have shape"),
    ],
)
def test_train_agent_names_what_it_refuses(change, error, word):
    given = {"env": ta.GaussianBandits.sample(1, 2, 0), "lifetime": 3, "agent": BANDITS, "seed": 0} | change
    with pytest.raises(error, match=word):
        ta.train_agent(ta.LPG(hidden=4, seed=0), **given)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"side": 2, "n_walls": 3}, "n_walls"),
        ({"n_objects": 0}, "n_objects"),
        ({"n_objects": 6}, "n_objects"),
        ({"limits": (5, 2)}, "limits must be least and largest"),
        ({"rows": 0}, "rows"),
    ],
)
def test_levels_that_cannot_be_drawn_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        ta.GridWorld.sample(**{"rows": 1, "tasks": 1, "seed": 0} | settings)


def test_more_doors():
    one = np.ones((1, 1, 1))
    walls = np.array([[[True, False, False, False]]])
    with pytest.raises(ValueError, match="start must not be a wall"):
        ta.GridWorld(2, 3 * one, one, one, 0 * one, np.zeros((1, 1)), np.full((1, 1), 2), walls)
    with pytest.raises(ValueError, match="arms"):
        ta.GaussianBandits.sample(1, 1, 0, arms=0)
    with pytest.raises(ValueError, match="lifetimes must have shape"):
        ta.MetaES(ta.LPG(hidden=4), ta.GaussianBandits.sample, BANDITS, lifetimes=5)
    zero, even = torch.zeros(1, 2, 3, dtype=F64), torch.full((1, 2, 3, 8), 1 / 8, dtype=F64)
    for name, d, pi in (("d", zero + 0.5, zero), ("pi", zero, zero + 7)):
        with pytest.raises(ValueError, match=f"every entry of {name} must be"):
            ta.LPG(hidden=4, seed=0)(zero, d, pi, even, even, n=1, N=2)
    for drift in (ta.ppo_drift, ta.dpo_drift):
        with pytest.raises(ValueError, match="advantage must have the shape of p"):
            drift([1.0, 2.0], [1.0, 1.0, 1.0])
        with pytest.raises(ValueError, match="finite products"):
            drift([1e200], [1e200])
        assert drift([0.5, 2.0], 1.0).shape == (2,)
    far, drift = torch.full((1,), -1000.0, dtype=F64), ta.DriftNet(hidden=4, seed=0)
    with pytest.raises(ValueError, match="logp and logp_old"):
        ta.mirror_loss(far, 0 * far, torch.ones(1, dtype=F64), drift, frac=0.0)


def test_a_rule_of_one_precision_trains_agents_of_another():
    single, env = ta.LPG(hidden=4, seed=0, dtype=torch.float32), ta.GaussianBandits.sample(1, 20, 0)
    double = ta.LPG(hidden=4, seed=0).load_vector(single.vector())
    scores = [ta.train_agent(rule, env, 5, BANDITS, seed=1).score for rule in (single, double)]
    np.testing.assert_array_equal(*scores)
    before = single.vector().clone()
    ta.MetaGradient(single, ta.GaussianBandits.sample, BANDITS, agents=4, lifetimes=(5, 10), seed=0).step()
    assert not torch.equal(single.vector(), before)
    p, gain = torch.tensor([0.5, 2.0]), torch.ones(2)
    net = ta.DriftNet(hidden=4, seed=0)
    torch.testing.assert_close(net(p, gain, 0.5), net(p.double(), gain.double(), 0.5), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", [ta.MetaES, ta.MetaGradient])
def test_meta_training_that_was_stored_goes_on_alike(kind):
    sizes = {"pairs": 4} if kind is ta.MetaES else {"agents": 8}

    def begin():
        rule = ta.LPG(hidden=4, seed=0)
        return kind(rule, ta.GaussianBandits.sample, BANDITS, lifetimes=(2, 5), seed=0, **sizes)

    whole, half = begin(), begin()
    for _ in range(6):
        whole.step()
    for _ in range(3):
        half.step()
    for twin in (pickle.loads(pickle.dumps(half)), copy.deepcopy(half)):
        for _ in range(3):
            twin.step()
        assert torch.equal(twin.rule.vector(), whole.rule.vector())


# --- (13)-(19): drifts ---


@pytest.mark.parametrize("aware", [True, False])
def test_drifts_are_zero_and_flat_at_ratio_one(rng, aware):
    for k in range(100):
        drift = ta.DriftNet(aware, hidden=8, seed=k)
        p = torch.ones(5, dtype=F64, requires_grad=True)
        value = drift(p, torch.as_tensor(3 * rng.standard_normal(5)), frac=rng.random())
        value.sum().backward()
        assert value.abs().max() == p.grad.abs().max() == 0
        wide = torch.as_tensor(np.exp(rng.standard_normal(50)))
        assert (drift(wide, torch.as_tensor(rng.standard_normal(50)), frac=0.3) >= 0).all()


def test_drift_is_its_formula(rng):
    drift, p, gain = ta.DriftNet(hidden=5, seed=1), torch.tensor([1.3], dtype=F64), torch.tensor([-0.7], dtype=F64)
    one, log, A = -0.3, np.log(1.3), -0.7
    x = np.array([one, one**2, one * A, one**2 * A, log, log**2, A * log, A * log**2])
    x = np.append(x, 0.4 * x)
    f = (drift.second.detach().numpy() @ np.tanh(drift.first.detach().numpy() @ x)).item()
    assert drift(p, gain, frac=0.4).item() == pytest.approx(max(f - 1e-6, 0))
    positive = ta.DriftNet(hidden=5, seed=6)
    value = positive(p, gain, frac=0.4).item()
    assert value > 0.05
    for net, penalty in ((drift, max(f - 1e-6, 0)), (positive, value)):
        loss = ta.mirror_loss(torch.log(p), torch.zeros(1, dtype=F64), gain, net, 0.4).item()
        assert loss == pytest.approx(-1.3 * A + penalty)


def test_ppo_drift_gives_ppo(rng):
    p, A = np.exp(rng.standard_normal(200)), rng.standard_normal(200)
    clipped = np.minimum(p * A, np.clip(p, 0.8, 1.2) * A)
    assert p * A - ta.ppo_drift(p, A) == pytest.approx(clipped)


def test_dpo_drift_is_its_formula_and_a_drift():
    for A, u in ((2.0, 0.5 * 2), (-2.0, np.log(1.5) * -2)):
        scale = 2.0 if A > 0 else 0.6
        assert ta.dpo_drift([1.5], [A]) == pytest.approx(max(u - scale * np.tanh(u / scale), 0))
    p, A = np.meshgrid(np.linspace(0.2, 3, 50), np.linspace(-3, 3, 50))
    assert (ta.dpo_drift(p, A) >= 0).all()
    gains = np.array([-2.0, 2.0])
    assert np.abs(ta.dpo_drift(np.full(2, 1 + 1e-4), gains) - ta.dpo_drift(np.full(2, 1 - 1e-4), gains)).max() < 1e-10


def test_bad_drift_inputs_are_refused():
    one = torch.ones(2, dtype=F64)
    with pytest.raises(ValueError, match="frac"):
        ta.DriftNet(seed=0)(one, one, frac=1.5)
    with pytest.raises(ValueError, match="p must"):
        ta.DriftNet(seed=0)(0 * one, one, frac=0.5)
    with pytest.raises(ValueError, match="ratio"):
        ta.mirror_loss(1000 * one, -1000 * one, one, ta.DriftNet(seed=0), 0.5)


# --- the study ---


@pytest.mark.parametrize("K", [1, 5, 100])
def test_quadratic_slopes_are_finite_differences(K):
    """Through the whole life, of the loss; through windows, of each window's last loss from a frozen start."""
    point, found = np.array([np.log(0.15), 0.3]), study.schedule_loss(np.log(0.15), 0.3, K)[1]

    def loss(x, frozen):
        e, ends = np.array(frozen[0]), []
        for n in range(1, 101):
            a = np.exp(x[0] + x[1] * n / 100)
            e = (1 - a * np.array(quadratic.CURVATURES)) ** 2 * e + a**2 * 0.1
            if n % K == 0:
                ends.append(0.5 * np.array(quadratic.CURVATURES) @ e)
                e = np.array(frozen[n // K]) if n < 100 else e
        return np.mean(ends), e

    frozen, e = [np.ones(3)], np.ones(3)
    for n in range(1, 101):
        a = np.exp(point[0] + point[1] * n / 100)
        e = (1 - a * np.array(quadratic.CURVATURES)) ** 2 * e + a**2 * 0.1
        if n % K == 0:
            frozen.append(e)
    for i, step in enumerate(1e-5 * np.eye(2)):
        numeric = (loss(point + step, frozen)[0] - loss(point - step, frozen)[0]) / 2e-5
        assert found[i] == pytest.approx(numeric, rel=1e-6, abs=1e-9)


def test_quadratic_slopes_at_a_known_point():
    whole, five, one = (study.schedule_loss(np.log(0.2), 0.0, K)[1] for K in (100, 5, 1))
    assert whole == pytest.approx([0.0096, 0.0092], abs=1e-4)
    assert five == pytest.approx([-0.0029, 0.0026], abs=1e-4)
    assert one == pytest.approx([-0.0024, 0.0010], abs=1e-4)


def test_rules_without_a_clock_are_the_same_among_those_with_one():
    blind = study.rule_of("grids", False).vector().numpy()[None]
    both = [study.learned("grids", v, 4, 5, 3)[0] for v in (blind, study.with_clock("grids", blind))]
    assert both[0] == pytest.approx(both[1], abs=1e-12)
    with pytest.raises(ValueError, match="columns"):
        study.with_clock("grids", blind[:, 1:])


def test_hand_made_rule_learns_and_schedules_differ():
    found = study.hand_made("bandits", 40, 300, seed=0, rates=[0.01, 3.0])
    assert found.shape == (2, 2)
    assert (found[:, 1] > found[:, 0] + 0.3).all()
    assert found[0, 1] != found[1, 1]
    grid = study.hand_made("grids", 60, 20, seed=0, rates=[0.1, 30.0])
    assert (grid[:, 1] > grid[:, 0]).all()


def test_a_race_shares_tasks_and_chooses_on_others():
    vector = study.rule_of("bandits", True).vector().numpy()[None]
    found = study.race("bandits", {"a": vector, "b": vector}, [5, 8], 30, 1)
    assert np.array_equal(found["a"], found["b"])
    assert found["grid"].shape == (2, 2, len(races.RATES["bandits"]))
    for i in range(2):
        assert found["constant"][i] == found["grid"][i, 0, found["chosen"][i, 0]]
        assert found["falling"][i] == found["grid"][i, 1, found["chosen"][i, 1]]


def test_curve_distance_sees_only_the_fraction_of_life():
    def curve(N):
        return np.exp(-(np.arange(N) + 0.5) / N)[:, None]

    assert study.curve_distance(curve(10), curve(1000))[0] < 1e-3
    assert study.curve_distance(curve(10), np.zeros((50, 1)))[0] == pytest.approx(curve(10).mean())


def test_pairs_on_common_tasks_differ_less():
    vector = study.rule_of("bandits", True).vector()
    same, own = np.square(study.pair_differences(vector, 200, 5, seed=1)).mean(1)
    assert same < own


def test_weights_come_back_and_a_changed_file_is_refused(tmp_path, monkeypatch):
    rules, curves = {"bandits, LPG": np.ones((2, 3))}, {"bandits, LPG": np.zeros((2, 4))}
    data = weights.pack(rules, curves, {"seeds": {"bandits, LPG": [1, 2]}})
    path = tmp_path / "w.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="SHA-256"):
        study.load_weights(path)
    told = weights.unpack(data)
    assert told[0]["bandits, LPG"].tolist() == rules["bandits, LPG"].tolist()
    assert told[2]["seeds"]["bandits, LPG"] == [1, 2]
    with pytest.raises(FileNotFoundError, match="make_weights"):
        study.load_weights(tmp_path / "none.npz")


def test_shipped_weights_are_what_the_plan_says():
    rules, curves, origin = study.load_weights()
    assert rules.keys() == curves.keys() == make_weights.PLAN.keys()
    for name, (_, world, aware, seeds) in make_weights.PLAN.items():
        size = len(study.drift_start(aware, 0, 1).vector()) if world == "control" else study.rule_of(world, aware).size
        assert rules[name].shape == (len(seeds), size)
        assert len(curves[name]) == len(origin["seeds"][name]) == len(seeds)
        assert origin["cpu_seconds"][name] > 0
    assert json.dumps(origin)


def test_make_weights_goes_on_from_its_parts(tmp_path, monkeypatch, capsys):
    calls = []

    def train(world, aware, seed):
        calls.append((world, aware, seed))
        return np.full(3, seed, np.float32), np.zeros(2)

    monkeypatch.setattr(make_weights, "PLAN", {"bandits, LPG": (train, "bandits", False, range(2))})
    told = ["--parts", str(tmp_path / "parts"), "--out", str(tmp_path / "out.npz")]
    assert make_weights.main(told) == make_weights.main(told) == 0
    assert calls == [("bandits", False, 0), ("bandits", False, 1)]
    assert weights.unpack((tmp_path / "out.npz").read_bytes())[0]["bandits, LPG"][:, 0].tolist() == [0, 1]
    assert "SHA-256" in capsys.readouterr().out


# --- odd use ---


def test_a_rule_names_tensors_of_another_precision_or_count():
    r, y = torch.zeros(2, 5, 3, dtype=torch.float64), torch.full((2, 5, 3, 4), 0.25, dtype=torch.float64)
    single = ta.LPG(m=4, hidden=3, seed=0, dtype=torch.float32)
    with pytest.raises(TypeError, match=r"r must be of torch\.float32"):
        single(r, r, r, y, y, n=1, N=2)
    rule = ta.LPG(m=4, hidden=3, seed=0)
    with pytest.raises(ValueError, match="vectors must be one or 2"):
        rule(r, r, r, y, y, n=1, N=2, vectors=torch.zeros(3, rule.size, dtype=torch.float64))


def test_a_drift_names_a_ratio_that_overflows():
    far, one = torch.full((1,), 1e200, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="overflows"):
        ta.DriftNet(hidden=4, seed=0)(far, one, frac=0.5)


def test_a_window_of_one_step_of_one_agent_keeps_the_rule_finite():
    rule = ta.LPG(hidden=4, seed=0)
    search = ta.MetaGradient(rule, ta.GaussianBandits.sample, ta.Agent(workers=1, steps=1), agents=1, lifetimes=(1, 1), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.step()
    assert torch.isfinite(rule.vector()).all()


@pytest.mark.parametrize("kind", [ta.MetaES, ta.MetaGradient])
def test_a_sampler_that_gives_no_tasks_is_named(kind):
    with pytest.raises(TypeError, match="sampler must give"):
        kind(ta.LPG(hidden=4, seed=0), lambda rows, tasks, rng: None, ta.Agent(workers=1, steps=1), seed=0).step()


def test_an_endless_episode_is_refused():
    one = np.ones((1, 1, 1))
    with pytest.raises(ValueError, match="limit"):
        ta.GridWorld(2, 3 * one, one, one, 0 * one, np.zeros((1, 1)), np.full((1, 1), 1e18))
