"""The problems, their networks, the rivals and the protocols of the experiments."""

import hashlib

import numpy as np
import pytest
import torch

import lib.data
from lib.backprop_free import directional_attacks as da
from lib.backprop_free.directional_attacks import study
from lib.backprop_free.directional_attacks.study import instances, networks, rivals, train


def test_shipped_weights_are_those_that_were_recorded(tmp_path, monkeypatch):
    for name, recorded in networks.SHA256.items():
        assert hashlib.sha256((networks.FOLDER / f"{name}.npz").read_bytes()).hexdigest() == recorded
    (tmp_path / "tabular.npz").write_bytes((networks.FOLDER / "mnist.npz").read_bytes())
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    networks.weights.cache_clear()
    with pytest.raises(ValueError, match="tabular"):
        networks.weights("tabular")
    networks.weights.cache_clear()


def test_networks_are_those_of_torch_layers():
    rng = torch.Generator().manual_seed(0)
    w = networks.weights("mnist")
    conv1, conv2 = torch.nn.Conv2d(1, 8, 5, stride=2).double(), torch.nn.Conv2d(8, 16, 5, stride=2).double()
    dense, out = torch.nn.Linear(256, 64).double(), torch.nn.Linear(64, 10).double()
    for layer, name in ((conv1, "conv1"), (conv2, "conv2"), (dense, "dense"), (out, "out")):
        layer.load_state_dict({"weight": w[f"{name}_weight"], "bias": w[f"{name}_bias"]})
    relu = torch.nn.ReLU()
    net = torch.nn.Sequential(conv1, relu, conv2, relu, torch.nn.Flatten(0), dense, relu, out)
    image = torch.rand(1, 28, 28, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(networks.mnist_logits(image[0]), net(image))
    t = networks.weights("tabular")
    x = torch.randn(30, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(
        networks.tabular_logits(x), t["out_weight"] @ torch.tanh(t["hidden_weight"] @ x + t["hidden_bias"]) + t["out_bias"]
    )


def test_networks_are_trained():
    X, y = train.standardized()
    logits = torch.stack([networks.tabular_logits(torch.tensor(row)) for row in X])
    assert float((logits.argmax(1) == torch.tensor(y)).double().mean()) == pytest.approx(0.993, abs=2e-3)
    try:
        images, labels = lib.data.mnist("test")
    except lib.data.DataUnavailableError:
        pytest.skip("MNIST is not at hand")
    some = [int(networks.mnist_logits(torch.tensor(image / 255)).argmax()) for image in images[:300]]
    assert np.mean(some == labels[:300]) > 0.93


def test_training_of_the_tabular_network_is_the_recorded_one():
    net, accuracy = train.train_tabular()
    assert accuracy == pytest.approx(0.993, abs=2e-3)
    np.testing.assert_allclose(net[0].weight.detach().numpy(), networks.weights("tabular")["hidden_weight"].numpy(), atol=1e-2)


def test_plant_is_that_of_the_authors():
    task = study.plant()
    assert (task.r0, task.r_dsm, task.r_atk) == (1e-3, (1e-6, 0.1), (1e-6, 1.0))
    np.testing.assert_allclose(task.x0 * [120, 20], [40, 6])
    assert task.problem.value(task.x0) == pytest.approx(0.513101, abs=1e-5)
    assert task.problem.value([0.5, 0.25]) < -7
    assert task.problem.value([119.75 / 120, 4.175 / 20]) == pytest.approx(1.876, abs=1e-3)
    assert study.solve("attacks", task, 3000).fun == pytest.approx(1.5023, abs=1e-3)  # archived: 1.50
    weights = networks.weights("bio_pinn")
    assert weights["A1"] == pytest.approx(0.0888, abs=1e-4)


def test_plant_by_hand():
    task, x = study.plant(), np.array([0.4, 0.35])
    times = 120 * x[0] * np.arange(1, 101) / 100
    table = networks.bio_pinn(torch.tensor(np.stack([times, np.full(100, 20 * x[1])], axis=1))).numpy()
    f = np.mean(table[:, 4] / table[:, :3].sum(axis=1))
    t, Q = 120 * x[0], 20 * x[1]
    c = np.concatenate([[-t, t - 120, -Q, Q - 20, Q * t - 500], -table[:, :5].ravel(), 20 - table[:, 5], table[:, 5] - 65])
    assert task.problem.value(x) == pytest.approx(f - 1e6 * (np.maximum(c, 0) ** 2).sum(), rel=1e-9)
    y, z = task.problem.outputs(x)
    assert (len(y), len(z)) == (600, 705)


def test_runs_on_the_plant_end_near_the_limits():
    for seed in range(2):
        for name in ("hybrid", "cdsm"):
            res = study.solve(name, study.plant(), 1000, seed=seed)
            assert res.success
            assert res.violation < 1e-3
            assert 1.45 < res.fun < 1.7


def stack(n=6, seed=0):
    return np.random.default_rng(seed).random((n, 28, 28))


@pytest.mark.parametrize("output", instances.OUTPUTS)
def test_barycenter_is_best_at_the_target(output):
    task = study.barycenter(stack(), output)
    assert (task.r0, task.r_dsm, task.r_atk) == (1.0, (1e-5, 10.0), (1e-6, 10.0))
    target = np.where(np.arange(6) == 0, 10.0, -10.0)
    assert task.problem.value(target) == pytest.approx(0, abs=1e-9)
    assert task.problem.value(task.x0) < task.problem.value(target)
    with torch.no_grad():
        image = torch.tensor(stack().mean(axis=0))
        y = {"features": networks.mnist_features, "logits": networks.mnist_logits,
             "probabilities": lambda z: torch.softmax(networks.mnist_logits(z), 0)}[output]  # fmt: skip
        wanted = -float(((y(image) - y(torch.tensor(stack()[0]))) ** 2).sum())
    assert task.problem.value(task.x0) == pytest.approx(wanted, rel=1e-9)
    outside = task.x0.copy()
    outside[2] = 11.0
    _, z = task.problem.outputs(outside)
    assert float(z.sum()) == pytest.approx(21.0)


def test_dictionary_is_drawn_and_sorted_by_how_sure_the_network_is():
    images = (255 * stack(9)).round()
    drawn = study.dictionary(images, 5, seed=1)
    sure = [float(torch.softmax(networks.mnist_logits(torch.tensor(image)), 0).max()) for image in drawn]
    assert sure == sorted(sure)
    assert all(any(np.allclose(image * 255, one) for one in images) for image in drawn)
    with pytest.raises(ValueError, match="n must"):
        study.dictionary(images, 10)


def test_counterfactual_starts_on_the_wrong_side_and_ends_on_the_other():
    task = study.counterfactual(5)
    before = networks.tabular_logits(torch.tensor(task.x0))
    _, z = task.problem.outputs(task.x0)
    gap = float((before.max() - before.min()).detach())
    assert float(z[0]) == pytest.approx(30 * (0.5 + gap))
    assert task.problem.value(task.x0) == pytest.approx(-900 * (0.5 + gap) ** 2)
    res = study.solve("hybrid", task, 1500, seed=0)
    after = networks.tabular_logits(torch.tensor(res.x))
    assert int(after.argmax()) != int(before.argmax())
    assert res.violation < 2e-2
    assert res.fun == pytest.approx(-((res.x - task.x0) ** 2).sum() - 900 * res.violation**2, rel=1e-6)


@pytest.mark.parametrize("task", [study.counterfactual(5), study.barycenter(np.random.default_rng(0).random((6, 28, 28)))])
def test_slopes_by_hand_are_those_of_automatic_differentiation(task):
    point = task.x0 + np.random.default_rng(1).standard_normal(len(task.x0))
    y, _ = task.problem.outputs(point)
    y.requires_grad_(True)
    (slope,) = torch.autograd.grad(task.problem.f(y), y)
    torch.testing.assert_close(task.problem.grad_f(y.detach()), slope)


def test_jump_by_hand():
    value = study.jump().problem.value
    assert value([0.0, 0.0]) == 0
    assert value([1.0, 0.95]) == pytest.approx(2 - 1 - 0.95**2)
    assert value([1.0, 1.11]) == pytest.approx(-1 - 1.11**2)


@pytest.mark.parametrize("name", ["lbfgs", "adam", "cma", "evolution", "cobyqa", "directsearch"])
def test_rivals_keep_to_the_budget_and_climb(name):
    if name in ("cma", "directsearch"):
        pytest.importorskip(name)
    task = study.counterfactual(5)
    first, second = (study.rival(name, task, 0.3, 70, seed=2) for _ in range(2))
    assert len(first.best) <= 70
    if name not in ("cobyqa", "directsearch"):
        assert len(first.best) == 70
    assert (np.diff(first.best) >= 0).all()
    np.testing.assert_array_equal(first.best, second.best)
    assert first.cost[-1] == (rivals.PASS_COST if name in ("lbfgs", "adam") else 1) * len(first.best)
    assert task.problem.value(first.x) == pytest.approx(first.best[-1], rel=1e-9)
    assert first.best[-1] > task.problem.value(task.x0)
    assert task.problem.fresh().n_eval == 0


def test_missing_rival_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "directsearch", None)
    with pytest.raises(ImportError, match="directsearch"):
        study.rival("directsearch", study.jump(), 1.0, 10)


def test_adam_is_that_of_torch():
    task = study.counterfactual(7)
    run = study.rival("adam", task, 0.05, 20)
    x = torch.tensor(task.x0, requires_grad=True)
    optimizer = torch.optim.Adam([x], 0.05)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        y, z = task.problem.parts(x)
        loss = -(task.problem.f(y) - (z**2).sum())
        values.append(-float(loss.detach()))
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(run.best, np.maximum.accumulate(values), rtol=1e-6)


def test_lbfgs_finds_the_least_change():
    best = study.rival("lbfgs", study.counterfactual(5), 1.0, 200, seed=0).best[-1]
    assert best == pytest.approx(-0.929, abs=1e-3)


def test_runs_are_read_off_by_evaluations_and_by_cost():
    run = study.Run(np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 9.0]), np.zeros(1), 0.0)
    assert [run.at(k) for k in (1, 3, 100)] == [1, 3, 3]
    assert [run.at_cost(c) for c in (0.5, 1, 8.9, 9)] == [1, 1, 2, 3]
    assert study.traces({"a": [run]}, 4)["a"].tolist() == [[1, 2, 3, 3]]


def test_cost_counts_attacks_as_three():
    res = study.solve("hybrid", study.plant(), 50, seed=0)
    run = study.as_run(res)
    assert run.cost[-1] == res.nfev + 3 * res.njev
    assert len(run.best) == 50
    attacks = np.cumsum(res.history["step"] == "attack")
    np.testing.assert_array_equal(run.cost, np.arange(1, 51) + 3 * attacks)


def test_tuning_takes_the_best_and_sees_edges():
    assert study.tuned("adam", [study.counterfactual(5)], [0.1, 100.0], 40) == (0.1, True)


def test_points_of_a_run_are_its_own_and_differ():
    res = study.solve("hybrid", study.plant(), 100, seed=0)
    points = study.run_points(res, 7)
    assert len(points) == 7
    np.testing.assert_array_equal(points[0], res.history["x"][0])
    np.testing.assert_array_equal(points[-1], res.x)
    assert len(np.unique(points, axis=0)) == 7


def test_radii_and_reach_of_the_attack_study():
    assert study.RADII == (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.5, 1.0)
    d = da.directional_attack(lambda x: x, np.zeros(1), np.ones(1), 1.0, method="pgd")
    assert float(d[0]) == pytest.approx(study.PGD_REACH)


def test_better_ignores_rounding():
    assert study.better(1 + 1e-12, 1.0) == 0
    assert study.better(1.001, 1.0) == 1
    assert study.better(-2e-9, -1e-9) == 0


@pytest.mark.parametrize("call", [
    lambda: study.solve("simplex", study.plant(), 10), lambda: study.race("hybrid", study.plant(), -1.0, 10),
    lambda: study.rival("lbfgs", study.plant(), 1.0, 0), lambda: study.counterfactual(569),
    lambda: study.barycenter(stack(), "pixels"),
    lambda: study.barycenter(2 * stack()),
])  # fmt: skip
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match="must"):
        call()
