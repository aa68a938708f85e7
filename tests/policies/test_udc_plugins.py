"""UDC's study: the knapsack plug-in, the shipped weights, the training schemes and the measures."""

import hashlib

import numpy as np
import pytest
import torch

from lib import papers
from lib import weights as files
from lib.policies.udc import UDC, study
from lib.policies.udc.problem import _cut_tours, _join_tours
from lib.policies.udc.study import (
    KNAPSACK,
    ItemPolicy,
    SubsetSolver,
    knapsack_instance,
    make_weights,
    new_knapsack_model,
    training,
    weights,
)
from lib.problems import packing, routing


@pytest.fixture
def items():
    return knapsack_instance(packing.uniform_knapsack(30, 0, count=2), capacity=6.0)


def test_knapsack_solutions_fit_and_never_get_worse(items):
    model, seen = new_knapsack_model(n=10), []
    found = model.solve(items, alpha=3, stages=8, seed=0, callback=lambda stage, chosen: seen.append(chosen.copy()))
    for chosen in seen:
        assert ((items[:, None, :, 1] * chosen).sum(-1) <= 1.0).all()
    assert (np.diff(found.history, axis=0) <= 1e-12).all()
    assert found.history[-1] == pytest.approx(-(items[:, None, :, 0] * seen[-1]).sum(-1), abs=1e-12)


def test_knapsack_pieces_share_the_capacity(items):
    points = torch.as_tensor(items)
    chosen, _ = ItemPolicy(8, 1, 5).sample(points, 4)
    pieces = KNAPSACK.split(points, chosen, 10, 0, torch.Generator().manual_seed(0))
    nodes = pieces.nodes.flatten(2)
    assert (nodes.sort(-1).values == torch.arange(30)).all()
    weight = points[torch.arange(2)[:, None, None], nodes][..., 1].reshape(2, 4, 3, 10)
    capacity = (weight / pieces.data[..., 1].reshape(2, 4, 3, 10)).mean(-1)
    assert torch.allclose(capacity.sum(-1), torch.ones(2, 4, dtype=torch.double))


def test_an_answer_that_does_not_fit_is_refused(items):
    points = torch.as_tensor(items)
    chosen, _ = ItemPolicy(8, 1, 5).sample(points, 1)
    pieces = KNAPSACK.split(points, chosen, 10, 0, None)
    everything = torch.ones((len(pieces.data), 1, 10), dtype=torch.bool)
    assert torch.equal(KNAPSACK.merge(pieces, everything), chosen)


def test_subset_probabilities_match_their_draws():
    torch.manual_seed(0)
    net = SubsetSolver(8, 1).double()
    pieces = torch.tensor([[[1.0, 0.6], [0.5, 0.5], [0.4, 0.4]]], dtype=torch.double)
    chosen, logp, cost = net.solve(pieces, beta=4000, generator=torch.Generator().manual_seed(0))
    sets = {tuple(row.tolist()) for row in chosen[0]}
    assert sets <= {(True, False, True), (False, True, True)}  # nothing else is full
    keys = logp[0].detach().round(decimals=9)
    total = sum(float(value.exp()) for value in keys.unique())  # one term for each order of picks
    assert total == pytest.approx(1.0, abs=1e-6)
    share = (chosen[0, :, 1]).double().mean()
    expected = sum(float(v.exp()) for v in keys[chosen[0, :, 1]].unique())
    assert float(share) == pytest.approx(expected, abs=0.03)
    assert cost.min() == pytest.approx(-1.4)


@pytest.mark.slow
def test_knapsack_training_raises_the_value():
    model = new_knapsack_model(n=10)
    instance = knapsack_instance(packing.uniform_knapsack(30, 0), 6.0)
    history = model.fit(lambda rng: instance, 60, alpha=8, beta=4, lr=1e-2, clip=1.0)
    assert history[-10:, 0].mean() < 1.1 * history[:10, 0].mean()


def test_knapsack_bad_input_is_named():
    with pytest.raises(ValueError, match="items"):
        knapsack_instance([[1.0, 0.0]], 1.0)
    with pytest.raises(ValueError, match="capacity"):
        knapsack_instance([[1.0, 1.0]], float("nan"))
    instance = knapsack_instance(packing.uniform_knapsack(20, 0), 3.0)
    with pytest.raises(ValueError, match="sketches must fit: the heaviest set weighs"):
        new_knapsack_model(n=10).solve(instance, sketches=np.ones((1, 20), dtype=bool))
    with pytest.raises(ValueError, match="sketches must be sets"):
        new_knapsack_model(n=10).solve(instance, sketches=np.full((1, 20), 2))
    with pytest.raises(ValueError, match="values and weights must be finite"):
        new_knapsack_model(n=10).solve(-instance)

    class Heavy:
        def solve(self, pieces, beta=2, greedy=False, generator=None):
            return torch.ones((len(pieces), 1, pieces.shape[1])), None, None

    with pytest.raises(ValueError, match="the solver's answers must be bool"):
        UDC(ItemPolicy(4, 1, 3), Heavy(), 10, KNAPSACK).solve(instance, stages=1)


def test_items_may_be_alike():
    found = new_knapsack_model(n=10).solve(knapsack_instance(np.ones((20, 2)), 5.0), stages=2)
    assert found.fun == -5.0


def test_no_unit_of_value_is_better_than_another(items):
    model = new_knapsack_model(n=10, dtype="float64")
    first, second = (model.solve(items * [scale, 1.0], alpha=2, stages=4, seed=0) for scale in (1.0, 2.0**40))
    assert (first.solutions == second.solutions).all()


def test_cut_and_join_are_inverse_up_to_the_roll():
    points = torch.as_tensor(routing.uniform_tsp(17, 0, count=2))
    tours = torch.stack([torch.stack([torch.randperm(17) for _ in range(3)]) for _ in range(2)])
    pieces = _cut_tours(points, tours, 6, 4)
    same = torch.arange(6).expand(len(pieces.data), 1, 6)
    assert torch.equal(_join_tours(pieces, same), tours.roll(-4, 2))


# -------------------------------------------------------------------------------------------------------------- weights


def test_weights_survive_packing():
    model, told = study.new_model(seed=3), {"command": "a command", "cpu_seconds": 3}
    data = weights.pack(model, np.ones((2, 3)), told)
    loaded, curve, origin = weights.unpack(data)
    assert data == weights.pack(model, np.ones((2, 3)), told)
    assert (curve.shape, origin) == ((2, 3), told)
    for name, net in model.nets.items():
        for a, b in zip(net.parameters(), loaded.nets[name].parameters(), strict=True):
            assert torch.allclose(a.double(), b, atol=1e-3)


def test_shipped_weights_are_small_verified_and_say_where_they_come_from(tmp_path):
    path = papers.root() / "results" / "udc.weights.npz"
    data = path.read_bytes()
    assert len(data) < 1_000_000
    assert hashlib.sha256(data).hexdigest() == weights.WEIGHTS_SHA256
    model, curve, origin = study.load_weights()
    assert model.n == 10
    assert curve.shape == (900, 3)
    assert set(origin) == {"command", "commit", "torch", "numpy", "cpu", "cpu_seconds"}
    assert all(origin.values())
    other = tmp_path / "udc.weights.npz"
    other.write_bytes(data[:-1] + b"x")
    with pytest.raises(ValueError, match="SHA-256 is"):
        study.load_weights(other)
    other.write_bytes(data + bytes(files.MOST_BYTES))
    with pytest.raises(ValueError, match="bytes, at most"):
        study.load_weights(other)
    with pytest.raises(FileNotFoundError, match="make it by"):
        study.load_weights(tmp_path / "none.npz")


def test_weights_are_made_by_their_command(tmp_path, monkeypatch, capsys):
    tiny = {"d": 8, "depth": 1, "k": 5, "solver_d": 8, "solver_depth": 1, "n": 10}
    monkeypatch.setattr(training, "SIZES", tiny)
    assert make_weights.main(["--steps", "2", "--seed", "1", "--out", str(tmp_path / "w.npz")]) == 0
    _, curve, origin = weights.unpack((tmp_path / "w.npz").read_bytes())
    assert curve.shape == (2, 3)
    assert origin["command"].endswith("--steps 2 --seed 1")
    assert "SHA-256" in capsys.readouterr().out


def test_trained_model_beats_the_untrained_one():
    model = study.load_weights()[0]
    points = routing.uniform_tsp(50, 99, count=6)
    fresh = study.new_model(seed=0, dtype="float64")
    trained, plain = (m.solve(points, stages=10, seed=0).history[-1].mean() for m in (model, fresh))
    assert trained < 0.97 * plain


def test_unknown_sizes_are_named():
    with pytest.raises(ValueError, match="sizes: unknown width"):
        study.new_model(sizes={"width": 3})


# ---------------------------------------------------------------------------------------------------------- experiments


TINY = {"d": 8, "depth": 1, "k": 5, "solver_d": 8, "solver_depth": 1}


@pytest.mark.parametrize("scheme", study.SCHEMES)
def test_every_scheme_trains(scheme):
    model, history = study.train_scheme(scheme, 3, 0, n_cities=20, sizes=TINY, alpha=2, beta=2)
    assert len(history) == 3
    assert np.isnan(history[:, 2]).all() == (scheme == "no reunion")
    assert model.n == 10
    assert model.steps == 3
    fresh = study.new_model(0, dtype="float64", sizes=TINY)
    for name, net in model.nets.items():
        changed = any(not torch.equal(a, b) for a, b in zip(net.parameters(), fresh.nets[name].parameters(), strict=True))
        assert changed
    raw = model.problem.normalize(torch.full((1, 4, 2), 3.0))
    assert (raw == 3.0).all() == (scheme == "no normalization")


def test_the_pre_trained_conqueror_rests_while_the_divider_learns():
    settings = {"n_cities": 20, "sizes": TINY, "alpha": 2, "beta": 2}
    alone, joint = (study.train_scheme(f"pre-trained, {end}", 2, 0, **settings)[0] for end in ("divider only", "joint"))
    only = study.new_model(0, dtype="float64", sizes=TINY)
    training._pretrain(only, 2, 8, 2, 0)
    assert all(torch.equal(a, b) for a, b in zip(alone.solver.parameters(), only.solver.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(joint.solver.parameters(), only.solver.parameters(), strict=True))


def test_the_learning_rate_falls_to_a_twentieth():
    assert training.learning_rate(0, 100) == pytest.approx(1e-3)
    assert training.learning_rate(50, 100) == pytest.approx(1e-3 * 0.525)
    assert training.learning_rate(100, 100) == pytest.approx(5e-5)


def test_fixed_cuts_stop_where_conquering_stops():
    model, points = study.new_model(0, dtype="float64"), routing.uniform_tsp(20, 0, count=2)
    exact = study.swap_solver(model, __import__("lib.policies.udc", fromlist=["x"]).HeldKarpSolver())
    costs = study.fixed_cuts(exact, points, study.sketch("random", points, 0), 3)
    assert (costs[1] < costs[0]).all()
    assert costs[1] == pytest.approx(costs[3])


def test_sketches_and_gaps():
    points = routing.uniform_tsp(12, 0, count=3)
    for rule in study.RULES:
        tours = study.sketch(rule, points, 0)
        assert tours.shape == (3, 1, 12)
        assert routing.is_tour(tours, 12)
    assert study.gaps(np.full((2, 3, 4), 1.5), np.ones(3)) == pytest.approx([50.0, 50.0])


def test_rank_correlation_of_the_final_costs_with_themselves_is_one():
    history = np.random.default_rng(0).random((4, 3, 9))
    assert study.rank_correlation(history, (3,))[0] == pytest.approx(1.0)


def test_share_of_steps_to_the_nearest_free_point():
    line = np.stack([np.arange(6.0), np.zeros(6)], axis=1)[None]
    assert study.nearest_share(line, [[0, 1, 2, 3, 4, 5]]) == 1.0
    assert study.nearest_share(line, [[0, 2, 1, 3, 4, 5]]) == pytest.approx(2 / 3)  # 0 passes 1 by
    paths, rng = routing.uniform_tsp(9, 0, count=20), np.random.default_rng(0)
    orders = np.array([[0, *rng.permutation(np.arange(1, 8)), 8] for _ in paths])
    hits = [
        walk[t + 1] == min(walk[t + 1 : 8], key=lambda j, at=path[walk[t]], path=path: np.linalg.norm(path[j] - at))
        for path, walk in zip(paths, orders, strict=True)
        for t in range(6)
    ]
    assert study.nearest_share(paths, orders) == pytest.approx(np.mean(hits))


def test_bad_names_are_named():
    with pytest.raises(ValueError, match="rule must be one of"):
        study.sketch("spiral", routing.uniform_tsp(5, 0, count=1), 0)
    with pytest.raises(ValueError, match="scheme must be one of"):
        study.train_scheme("both", 1, 0)


def test_default_dtype_survives_initialization():
    model = study.new_model(seed=0, dtype="float64")
    assert model.divider.edge[0].weight.dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
