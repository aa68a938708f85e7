"""UDC: divide, conquer and reunion on tours; the two policies' probabilities; REINFORCE against enumeration."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch

from lib.policies.udc import (
    AGNN,
    TSP,
    UDC,
    HeatmapPolicy,
    HeldKarpSolver,
    LKHSolver,
    Problem,
    SubpathSolver,
    conquer,
    knn_graph,
    normalize,
    reinforce,
)
from lib.problems import routing


@pytest.fixture
def coords():
    return torch.as_tensor(routing.uniform_tsp(24, 0))


def divider(**options):
    torch.manual_seed(0)
    return HeatmapPolicy(d=8, depth=2, k=6, **options).double().eval()


def solver(d=8):
    torch.manual_seed(1)
    return SubpathSolver(d=d, depth=1).double().eval()


def circle(n=40):
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def swapped(n, i, j):
    tour = np.arange(n)
    tour[[i, j]] = tour[[j, i]]
    return tour[None]


# ----------------------------------------------------------------------------------------------------- stages on tours


@pytest.mark.parametrize("make", [solver, HeldKarpSolver], ids=["learned", "exact"])
def test_every_stage_keeps_permutations_and_never_lengthens(coords, make):
    model = UDC(divider(), make(), n=10)  # 24 = 2 pieces and 4 cities left over
    seen = []
    found = model.solve(coords, alpha=5, stages=6, seed=0, callback=lambda stage, tours: seen.append(tours.copy()))
    assert len(seen) == 6
    assert all(routing.is_tour(tours, 24) for tours in seen)
    assert (np.diff(found.history, axis=0) <= 1e-12).all()
    assert found.history[-1] == pytest.approx(routing.tour_length(coords, seen[-1]), abs=1e-12)
    assert found.fun == pytest.approx(routing.tour_length(coords, found.x), abs=1e-12)


def test_change_of_the_tour_is_the_sum_of_the_changes_of_its_pieces(coords):
    tour = np.random.default_rng(0).permutation(24)[None]
    new = conquer(coords.numpy(), tour, HeldKarpSolver(), n=8, shift=3)
    rolled = np.roll(tour[0], -3)
    pieces = rolled.reshape(3, 8), new[0].reshape(3, 8)
    old_inside, new_inside = (routing.path_length(coords.numpy()[p]).sum() for p in pieces)
    change = routing.tour_length(coords, new[0]) - routing.tour_length(coords, tour[0])
    assert change == pytest.approx(new_inside - old_inside, abs=1e-12)
    assert (pieces[0][:, [0, -1]] == pieces[1][:, [0, -1]]).all()


def test_exact_conqueror_equals_brute_force_on_eight_points():
    paths = torch.as_tensor(routing.uniform_tsp(8, 3, count=6))
    order, _, length = HeldKarpSolver().solve(paths)
    every = np.array([(0, *inner, 7) for inner in itertools.permutations(range(1, 7))])
    for path, best in zip(paths.numpy(), length[:, 0], strict=True):
        assert float(best) == pytest.approx(routing.path_length(path[every]).min(), abs=1e-12)
    assert (order[:, 0].sort(-1).values == torch.arange(8)).all()


def test_lkh_conqueror_equals_the_exact_one():
    pytest.importorskip("elkai")
    paths = torch.as_tensor(routing.uniform_tsp(10, 4, count=8))
    assert torch.allclose(LKHSolver().solve(paths)[2], HeldKarpSolver().solve(paths)[2], rtol=1e-5)


def test_optimal_tour_of_a_circle_stays():
    tour = np.arange(40)[None]
    assert (np.sort(conquer(circle(), tour, HeldKarpSolver(), 10, 0)) == tour).all()
    assert (conquer(circle(), tour, HeldKarpSolver(), 10, 0) == tour).all()


def test_a_swap_inside_a_piece_is_repaired_by_conquer():
    mended = conquer(circle(), swapped(40, 4, 5), HeldKarpSolver(), n=10, shift=0)
    assert (mended == np.arange(40)).all()


def test_a_swap_across_a_seam_is_repaired_only_by_reunion():
    broken = swapped(40, 9, 10)  # the last city of one piece and the first of the next
    points, optimum = circle(), routing.tour_length(circle(), np.arange(40))
    once = conquer(points, broken, HeldKarpSolver(), n=10, shift=0)
    assert routing.tour_length(points, once[0]) > optimum + 0.1
    again = conquer(points, once, HeldKarpSolver(), n=10, shift=5)
    assert routing.tour_length(points, again[0]) == pytest.approx(optimum, abs=1e-9)


def test_no_stages_return_the_sketch(coords):
    sketch = np.random.default_rng(0).permutation(24)[None]
    found = UDC(divider(), solver(), n=10).solve(coords, stages=0, sketches=sketch)
    assert (found.solutions == sketch).all()
    assert found.history.shape == (1, 1)


def test_two_sides_are_never_worse_than_one_in_a_stage(coords):
    tours = torch.as_tensor(np.stack([np.random.default_rng(s).permutation(24) for s in range(20)]))
    one, two = (conquer(coords, tours, solver(), 12, 6, beta=beta) for beta in (1, 2))
    assert (routing.tour_length(coords, two) <= routing.tour_length(coords, one) + 1e-12).all()


def test_a_batch_is_solved_like_its_instances():
    points = torch.as_tensor(routing.uniform_tsp(20, 0, count=3))
    sketches = np.stack([np.random.default_rng(s).permutation(20)[None] for s in range(3)])
    model = UDC(divider(), solver(), n=10)
    together = model.solve(points, stages=5, sketches=sketches, seed=2)
    for i in range(3):
        alone = model.solve(points[i], stages=5, sketches=sketches[i], seed=2)
        assert alone.history == pytest.approx(together.history[:, i], abs=1e-9)
        assert alone.fun == pytest.approx(together.fun[i], abs=1e-9)


# ------------------------------------------------------------------------------------------------------- normalization


def test_normalization_does_not_change_the_optimal_order():
    paths = torch.as_tensor(routing.uniform_tsp(9, 5, count=20)) * torch.tensor([0.2, 3.0]) + 7.0
    raw, scaled = (HeldKarpSolver().solve(p)[0] for p in (paths, normalize(paths)))
    assert (raw == scaled).all()
    box = normalize(paths)
    assert torch.allclose(box.amax((1, 2)), torch.ones(20, dtype=torch.double))
    assert (box.amin((1, 2)) == 0).all()
    assert (box[..., 0].amax(1) >= box[..., 1].amax(1)).all()


def test_turned_and_mirrored_pieces_give_the_same_lengths():
    paths = torch.as_tensor(routing.uniform_tsp(10, 6, count=12)) * torch.tensor([2.0, 1.0])
    _, _, length = solver().solve(normalize(paths), 2, greedy=True)
    swap = normalize(paths.flip(-1))
    assert torch.allclose(solver().solve(swap, 2, greedy=True)[2], length)
    assert torch.allclose(normalize(3 * paths - 1), normalize(paths), atol=1e-8)


def test_a_piece_of_coinciding_cities_is_no_division_by_zero():
    assert torch.isfinite(normalize(torch.ones(1, 5, 2))).all()


# ------------------------------------------------------------------------------------------------------- probabilities


@pytest.mark.parametrize("revisit", [1, 2, 5])
@pytest.mark.parametrize("prior", [False, True])
def test_tour_probabilities_sum_to_one(revisit, prior):
    points = torch.as_tensor(routing.uniform_tsp(6, 1))
    tours = torch.tensor([(2, *rest) for rest in itertools.permutations([0, 1, 3, 4, 5])])
    logp = divider(distance_prior=prior).log_prob(points, tours, revisit)
    assert float(logp.detach().exp().sum()) == pytest.approx(1.0, abs=1e-9)


def test_tour_probability_is_the_product_of_its_steps(coords):
    policy, n = divider(), 24
    tours, logp = policy.sample(coords, alpha=3, revisit=4)
    reader, every = policy._embed(policy._points(coords)[0]), math.ceil((n - 1) / 4)
    for tour, found in zip(tours, logp, strict=True):
        total = 0.0
        for t in range(1, n):
            read = (t - 1) // every * every + 1
            heat = policy._heatmap(reader, tour[None, None], read)[0, 0]
            dense = torch.zeros(n, n, dtype=torch.double).scatter_(1, reader["near"][0], heat)
            dense = dense / (heat.min() + 1e-5) + 1e-5  # as the authors' code writes it, on the N x N matrix
            row = dense[tour[t - 1]].clone()
            row[tour[:t]] = 0.0
            total += float((row[tour[t]] / row.sum()).log().detach())
        assert float(found.detach()) == pytest.approx(total, abs=1e-9)


def test_draws_follow_the_probabilities():
    points = torch.as_tensor(routing.uniform_tsp(5, 1))
    policy = divider()
    tours, logp = policy.sample(points, alpha=20_000, generator=torch.Generator().manual_seed(0))
    mine = (tours == tours[0]).all(1)
    expected = float(logp[0].detach().exp()) / 5  # the start is one of five
    assert mine.double().mean() == pytest.approx(expected, abs=4 * math.sqrt(expected / 20_000))


def test_path_probabilities_sum_to_one_from_both_ends():
    path = torch.as_tensor(routing.uniform_tsp(6, 2, count=1))
    inner = list(itertools.permutations(range(1, 5)))
    for ends in ((0, 5), (5, 0)):
        walks = torch.tensor([[(ends[0], *order, ends[1]) for order in inner]])
        assert float(solver().log_prob(path, walks).detach().exp().sum()) == pytest.approx(1.0, abs=1e-9)


def test_path_probability_is_the_product_of_its_steps():
    net, path = solver(), torch.as_tensor(routing.uniform_tsp(9, 2, count=1))
    order, logp, _ = net.solve(path, beta=6, generator=torch.Generator().manual_seed(0))
    walks = torch.cat([order[0, :3], order[0, 3:].flip(-1)])
    distance = torch.cdist(path, path)[0]
    h = net._encode(path, distance[None])[0][0]
    k, v = net.kv(h).chunk(2, -1)
    for walk, found in zip(walks, logp[0], strict=True):
        total = 0.0
        for t in range(1, 8):
            free = torch.ones(9, dtype=torch.bool)
            free[walk[:t]] = free[walk[-1]] = False
            weight = ((-net.scale_attention * math.log2(9) * distance[walk[t - 1]]).exp() * free)[:, None] * k.exp()
            query = net.target(h[walk[-1]]) + net.current(h[walk[t - 1]])
            out = torch.sigmoid(query) * (weight * v).sum(0) / weight.sum(0)
            score = h @ out / math.sqrt(8) - net.scale_logits * math.log2(9) * distance[walk[t - 1]]
            logits = 50 * torch.tanh(score)
            total += float((logits[walk[t]] - logits[free].logsumexp(0)).detach())
        assert float(found.detach()) == pytest.approx(total, abs=1e-9)


def test_answers_keep_their_ends_whichever_end_they_start_from():
    paths = torch.as_tensor(routing.uniform_tsp(12, 2, count=5))
    order, logp, length = solver().solve(paths, beta=8)
    assert (order.sort(-1).values == torch.arange(12)).all()
    assert (order[..., 0] == 0).all()
    assert (order[..., -1] == 11).all()
    assert logp.shape == (5, 8)
    walked = np.take_along_axis(paths.numpy()[:, None], order.numpy()[..., None], axis=2)
    assert length.numpy() == pytest.approx(routing.path_length(walked), abs=1e-12)


# ------------------------------------------------------------------------------------------------------------ learning


def test_reinforce_is_the_gradient_of_the_expected_length():
    points, policy = torch.as_tensor(routing.uniform_tsp(5, 7)), divider()
    every = torch.tensor([(s, *rest) for s in range(5) for rest in itertools.permutations(sorted({*range(5)} - {s}))])
    costs = torch.as_tensor(routing.tour_length(points, every))
    head = policy.last[2].bias
    expected = torch.autograd.grad((policy.log_prob(points, every).exp() / 5 * costs).sum(), head)[0]
    generator, draws = torch.Generator().manual_seed(0), []
    alpha = 50
    for _ in range(200):
        tours, logp = policy.sample(points, alpha, generator=generator)
        loss = reinforce(logp, torch.as_tensor(routing.tour_length(points, tours)))
        draws.append(torch.autograd.grad(loss, head)[0] * alpha / (alpha - 1))  # own sample in the baseline
    draws = torch.stack(draws)
    error = (draws.mean(0) - expected) / (draws.std(0) / math.sqrt(len(draws)) + 1e-12)
    assert float(error.abs().max()) < 4.0
    assert float(expected.abs().max()) > 2 * float((draws.mean(0) - expected).abs().max())


@pytest.mark.slow
def test_training_shortens_tours_and_repeats():
    def trained():
        model = UDC(divider().train(), solver(16), n=10)
        points = routing.uniform_tsp(20, 0)
        return model, model.fit(lambda rng: points, 60, alpha=16, beta=4, lr=1e-2, clip=1.0, seed=3)

    (model, history), (_, again) = trained(), trained()
    assert (history == again).all()
    assert history[-10:, 0].mean() < 0.9 * history[:10, 0].mean()
    assert history[-10:, 2].mean() < 0.95 * history[:10, 2].mean()
    assert (np.diff(history, axis=1) <= 1e-9).all()
    assert model.steps == 60


def test_without_reunion_there_is_no_second_stage_and_train_names_the_nets(coords):
    model = UDC(divider(), solver(), n=10)
    before = [p.clone() for p in model.solver.parameters()]
    history = model.fit(lambda rng: coords, 1, reunion=False, train=("divider",), alpha=3, beta=2)
    assert np.isnan(history[0, 2])
    assert all(torch.equal(a, b) for a, b in zip(before, model.solver.parameters(), strict=True))


def test_exact_conquerors_can_train_the_divider(coords):
    model = UDC(divider(), HeldKarpSolver(), n=8)
    before = model.divider.edge[0].weight.clone()
    model.fit(lambda rng: coords, 1, train=("divider",), alpha=3, beta=2)
    assert not torch.equal(before, model.divider.edge[0].weight)


def test_same_seed_same_result(coords):
    model = UDC(divider(), solver(), n=10)
    first, second, other = (model.solve(coords, alpha=2, stages=4, seed=s) for s in (0, 0, 1))
    assert (first.history == second.history).all()
    assert (first.history != other.history).any()


# ------------------------------------------------------------------------------------------------------------- details


def test_a_city_is_its_own_neighbor(coords):
    near, distance = knn_graph(coords[None], 5)
    assert (near[0, :, 0] == torch.arange(24)).all()
    assert (distance[0, :, 0] == 0).all()
    assert (knn_graph(coords[None], 100)[0].shape[2]) == 24


def test_graph_network_layer_equals_its_formula():
    torch.manual_seed(0)
    net, points = AGNN(d=4, depth=1, k=3).double().eval(), torch.rand(1, 7, 2, dtype=torch.double)
    nodes, edges, near = net(points)
    silu = torch.nn.functional.silu
    x = silu(net.node_in(points[0]))
    reach = (points[0][:, None] - points[0][near[0]]).norm(dim=-1)
    w = silu(net.edge_in(-torch.stack([reach, reach], -1)))
    u1, u2, u3, u4 = net.from_nodes[0](x).chunk(4, -1)
    for i in range(7):
        message = torch.stack([torch.sigmoid(w[i, s]) * u2[j] for s, j in enumerate(near[0, i])]).mean(0)
        scale = 1 / math.sqrt(1 + net.node_norm[0].eps)
        assert torch.allclose(nodes[0, i], x[i] + silu((u1[i] + message) * scale))
        for s, j in enumerate(near[0, i]):
            assert torch.allclose(edges[0, i, s], w[i, s] + silu((net.from_edges[0](w[i, s]) + u3[i] + u4[j]) * scale))


def test_visited_neighbors_leave_the_floor_to_the_nearest_city():
    torch.manual_seed(0)
    policy = HeatmapPolicy(d=4, depth=1, k=2).double().eval()  # itself and one neighbor: soon all are visited
    points = torch.as_tensor(routing.uniform_tsp(12, 0))
    tours, logp = policy.sample(points, alpha=4, greedy=True)
    assert logp is None
    assert routing.is_tour(tours, 12)
    assert torch.isfinite(policy.log_prob(points, tours)).all()
    for tour in tours:  # where the one neighbor is visited, the nearest free city follows
        for t in range(1, 12):
            last, free = tour[t - 1], tour[t:]
            near = policy.gnn(points[None])[2][0, last]
            if not any(city in free for city in near):
                assert tour[t] == free[(points[free] - points[last]).norm(dim=-1).argmin()]


def test_dtype_follows_the_networks(coords):
    model = UDC(divider().float(), solver().float(), n=10)
    tours, logp = model.divider.sample(coords, 2)
    assert logp.dtype == torch.float32
    assert model.solve(coords.numpy(), stages=2).history.dtype == np.float64
    assert isinstance(conquer(coords, tours, model.solver, 10, 5), torch.Tensor)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.solve(np.random.default_rng(0).random((8, 2))), "only 8"),
        (lambda m: m.solve(np.zeros((20, 2))), "coincide"),
        (lambda m: m.solve(np.full((20, 2), np.nan)), "coords must be finite"),
        (lambda m: m.solve(np.zeros((20, 3))), r"shape \(N, 2\)"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0), stages=-1), "stages"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0), alpha=0), "alpha"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0), sketches=np.zeros((1, 20), dtype=int)), "permutations"),
        (lambda m: UDC(m.divider, m.solver, n=9), "even number"),
        (lambda m: UDC(m.divider, m.solver, n=2), "n must be"),
        (lambda m: conquer(routing.uniform_tsp(20, 0), np.arange(20)[None], m.solver, 7, 3), "even number"),
        (lambda m: m.fit(lambda rng: rng.random((20, 2)), 1, alpha=1), "alpha"),
        (lambda m: m.fit(lambda rng: rng.random((20, 2)), 1, train=("critic",)), "train may name"),
        (lambda m: m.solver.solve(torch.rand(1, 8, 2), beta=3), "1 or even"),
        (lambda m: m.solver.solve(torch.rand(1, 3, 2)), "n >= 4"),
        (lambda m: SubpathSolver(d=0), "d must be"),
        (lambda m: AGNN(k=0), "k must be"),
        (lambda m: m.fit(lambda rng: rng.random((20, 2)), 1, lr=float("nan")), "lr"),
        (lambda m: m.fit(lambda rng: rng.random((20, 2)), 1, lr=-1), "lr"),
        (lambda m: m.fit(lambda rng: rng.random((20, 2)), 1, clip=0), "clip"),
        (lambda m: m.fit(lambda rng: rng.random((20, 2)), 1, beta=3), "beta must be even"),
        (lambda m: m.fit(lambda rng: np.full((20, 2), np.inf), 1), "coords"),
        (lambda m: m.fit(lambda rng: rng.random((8, 2)), 1), "only 8"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0), beta=3), "beta"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0), seed=-1), "seed"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0) * 1e200), "coords"),
        (lambda m: conquer(routing.uniform_tsp(20, 0), np.arange(20)[None], m.solver, 10, -1), "shift"),
        (lambda m: conquer(routing.uniform_tsp(20, 0), [[np.nan] * 20], m.solver, 10, 0), "tours"),
        (lambda m: m.divider.log_prob(routing.uniform_tsp(20, 0), [[0] * 20]), "tours"),
        (lambda m: m.solver.log_prob(torch.rand(1, 8, 2), [[[0] * 8]]), "walks"),
        (lambda m: reinforce(torch.zeros(3), torch.zeros(2)), "same shape"),
        (lambda m: normalize([[np.nan, 0.0]]), "paths"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(UDC(divider(), solver(), n=10))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: UDC(object(), m.solver), "divider.sample"),
        (lambda m: UDC(m.divider, object()), "solver.solve"),
        (lambda m: UDC(m.divider, m.solver, 10, "TSP"), "problem"),
        (lambda m: m.solve("0.1"), "coords"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0), stages=1.5), "stages"),
        (lambda m: m.solve(routing.uniform_tsp(20, 0), callback=3, stages=1), "callback"),
        (lambda m: m.fit("sampler", 1), "sampler"),
        (lambda m: m.fit(lambda rng: rng.random((20, 2)), "1"), "steps"),
        (lambda m: HeatmapPolicy(d=8, depth=1, distance_prior="yes"), "distance_prior"),
        (lambda m: Problem(TSP.length, TSP.split, TSP.merge, None), "normalize"),
    ],
)
def test_bad_types_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call(UDC(divider(), solver(), n=10))


class Wrong:
    """A conqueror that answers the same, whatever it is asked."""

    def __init__(self, answer):
        self.answer = answer

    def solve(self, pieces, beta=2, greedy=False, generator=None):
        return self.answer.expand(len(pieces), 1, -1), None, torch.zeros(len(pieces), 1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(10, dtype=torch.long), "permutations"),
        (torch.arange(10).flip(0), "keep the ends"),
        (torch.arange(9), "permutations"),
        (torch.full((10,), math.nan), "permutations"),
    ],
)
def test_answers_that_are_no_orders_are_refused(coords, answer, message):
    with pytest.raises(ValueError, match=f"the solver's answers must .*{message}"):
        UDC(divider(), Wrong(answer), n=10).solve(coords, stages=1)


def test_sketches_that_are_no_tours_are_refused_whoever_drew_them(coords):
    class Zeros:
        def sample(self, coords, alpha, revisit=1, greedy=False, generator=None):
            return torch.zeros((len(coords), alpha, coords.shape[1]), dtype=torch.long), None

    with pytest.raises(ValueError, match="the divider's solutions must hold permutations"):
        UDC(Zeros(), solver(), n=10).solve(coords)


# ------------------------------------------------------------------------------------------------------ units and kinds


def test_no_unit_or_origin_is_better_than_another(coords):
    model = UDC(divider(), solver(), n=10)
    plain = model.solve(coords, alpha=3, stages=4, seed=0)
    for scale, shift in ((2.0**20, 0.0), (2.0**-30, 0.0), (1.0, 0.0)):
        found = model.solve(coords * scale + shift, alpha=3, stages=4, seed=0)
        assert (found.solutions == plain.solutions).all()
        assert found.history == pytest.approx(scale * plain.history, rel=1e-12)
    for scale, shift in ((10.0, 0.0), (1.0, 10.0), (1e-12, 0.0), (1e8, -3e8)):
        found = model.solve(coords * scale + shift, alpha=3, stages=4, seed=0)
        assert found.fun == pytest.approx(scale * plain.fun, rel=1e-5)


def test_gains_are_relative_to_the_piece():
    points = torch.as_tensor(circle()) * 1e-12  # a gain is far below 1e-9 here
    mended = conquer(points, torch.as_tensor(swapped(40, 4, 5)), HeldKarpSolver(), n=10, shift=0)
    assert (mended[0] == torch.arange(40)).all()


def test_lists_frames_and_half_precision_are_points(coords):
    pandas = pytest.importorskip("pandas")
    model = UDC(divider(), solver(), n=10)
    expected = model.solve(coords, stages=2, seed=0)
    frame = pandas.DataFrame(coords.numpy(), columns=["x", "y"])
    for given in (coords.numpy(), coords.tolist(), frame):
        assert (model.solve(given, stages=2, seed=0).x == expected.x).all()
    assert model.solve(coords.half(), stages=2, seed=0).fun == pytest.approx(expected.fun, rel=0.05)
    assert (conquer(frame, np.arange(24)[None], HeldKarpSolver(), 8, 0) >= 0).all()


def test_inputs_stay_as_they_are(coords):
    sketch = np.random.default_rng(0).permutation(24)[None]
    before, tours = coords.clone(), sketch.copy()

    def spoil(stage, found):
        found[:] = 0

    found = UDC(divider(), solver(), n=10).solve(coords, stages=3, sketches=sketch, callback=spoil)
    assert torch.equal(coords, before)
    assert (sketch == tours).all()
    assert routing.is_tour(found.solutions, 24)


# ------------------------------------------------------------------------------------------------- going on, stopping


def states(model):
    return [value.clone() for net in model.nets.values() for value in net.state_dict().values()]


@pytest.mark.parametrize("keep", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"])
def test_training_goes_on_where_it_stopped(keep):
    def fresh():
        return UDC(divider(), solver(), n=10), np.random.default_rng(5)

    options = {"sampler": lambda rng: rng.random((20, 2)), "alpha": 3, "beta": 2, "lr": 1e-2}
    whole, rng = fresh()
    expected = whole.fit(steps=4, seed=rng, **options)
    half, rng = fresh()
    first = half.fit(steps=2, seed=rng, **options)
    other = keep(half)
    half.fit(steps=1, seed=0, **options)  # the copy is a thing of its own
    second = other.fit(steps=2, seed=rng, **options)
    assert (np.concatenate([first, second]) == expected).all()
    assert all(torch.equal(a, b) for a, b in zip(states(whole), states(other), strict=True))
    assert other.steps == 4


def test_a_callback_may_end_it(coords):
    def stop(number, value):
        if number == 2:
            raise StopIteration

    model = UDC(divider(), solver(), n=10)
    found = model.solve(coords, stages=5, callback=stop)
    assert (found.nit, found.success, len(found.history)) == (2, False, 3)
    assert "callback" in found.message
    assert model.solve(coords, stages=2).success
    history = model.fit(lambda rng: coords, 9, alpha=2, beta=2, callback=stop)
    assert (len(history), model.steps) == (3, 3)
    assert not model.divider.training


def test_a_loss_that_is_not_finite_changes_nothing(coords):
    model = UDC(divider(), solver(), n=10)
    bad = Problem(lambda x, t: TSP.length(x, t) * math.nan, TSP.split, TSP.merge, TSP.normalize, TSP.instance, TSP.solutions)
    model.problem = bad
    before = [p.clone() for p in model.divider.parameters()]
    with pytest.raises(FloatingPointError, match="not finite"):
        model.fit(lambda rng: coords, 1, train=("divider",), alpha=2, beta=2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.divider.parameters(), strict=True))
    assert not model.divider.training


# --------------------------------------------------------------------------------------------- the paper's own constants


def test_defaults_are_those_of_the_paper():
    import inspect

    from lib.policies.udc import divide, problem, solvers

    def defaults(function):
        return {k: p.default for k, p in inspect.signature(function).parameters.items() if p.default is not p.empty}

    assert defaults(AGNN) == {"d": 64, "depth": 12, "k": 100, "n_features": 2}
    assert defaults(HeatmapPolicy) == {"d": 64, "depth": 12, "k": 100, "distance_prior": False}
    assert defaults(SubpathSolver) == {"d": 128, "depth": 6}
    assert defaults(UDC) == {"n": 100, "problem": TSP}
    fit = defaults(UDC.fit)
    assert (fit["alpha"], fit["beta"], fit["lr"], fit["clip"], fit["reunion"]) == (40, 50, 1e-4, math.inf, True)
    assert fit["train"] == ("divider", "solver")
    assert defaults(UDC.solve)["beta"] == defaults(conquer)["beta"] == 2
    assert defaults(UDC.solve)["stages"] == 50
    assert (solvers.CLIP, divide.FLOOR, problem.LEAST_GAIN) == (50.0, 1e-5, 1e-9)
    assert float(SubpathSolver(d=4, depth=1).scale_logits.detach()) == 1.0
    model = UDC(divider(), solver(), n=10)
    assert model.revisits(torch.zeros(35, 2)) == 3


def test_shifts_are_half_a_piece_twice_and_then_from_one_to_a_whole(coords):
    shifts = []

    def split(points, tours, n, shift, generator):
        shifts.append(shift)
        return TSP.split(points, tours, n, shift, generator)

    spied = Problem(TSP.length, split, TSP.merge, TSP.normalize, TSP.instance, TSP.solutions)
    UDC(divider(), solver(), 10, spied).solve(coords, stages=200, seed=0)
    assert shifts[:2] == [5, 5]
    assert set(shifts[2:]) == set(range(1, 11))
    shifts.clear()
    UDC(divider(), solver(), 10, spied).fit(lambda rng: coords, 1, alpha=2, beta=2)
    assert shifts == [5, 5]


def test_one_training_step_is_that_of_the_paper(coords):
    """The order of the updates, and their gradients, written out a second time."""
    model, rng = UDC(divider(), solver(), n=10), np.random.default_rng(0)
    seed = int(np.random.default_rng(0).integers(2**62))
    mine, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    model.fit(lambda _: coords, 1, alpha=4, beta=6, lr=1e-2, seed=rng)
    for net in mine.nets.values():
        net.train()
    adam = {name: torch.optim.Adam(net.parameters(), lr=1e-2) for name, net in mine.nets.items()}
    tours, logp = mine.divider.sample(coords[None], 4, 2, generator=generator)
    for _ in range(2):
        tours = tours.roll(-5, 2)
        pieces = coords[tours[0, :, :20].reshape(8, 10)]
        order, piece_logp, cost = mine.solver.solve(normalize(pieces), 6, generator=generator)
        adam["solver"].zero_grad()
        ((cost - cost.mean(1, keepdim=True)) * piece_logp).mean().backward()
        adam["solver"].step()
        for i in range(4):
            for c in range(2):
                old = tours[0, i, 10 * c : 10 * c + 10].clone()
                walks = torch.cat([old[None], old[order[2 * i + c]]])
                length = (coords[walks][:, 1:] - coords[walks][:, :-1]).norm(dim=-1).sum(-1)
                tours[0, i, 10 * c : 10 * c + 10] = walks[length.argmin()]
    lengths = torch.as_tensor(routing.tour_length(coords, tours[0]))
    adam["divider"].zero_grad()
    ((lengths - lengths.mean()) * logp[0]).mean().backward()
    adam["divider"].step()
    for a, b in zip(model.nets.values(), mine.nets.values(), strict=True):
        assert all(torch.allclose(x, y, atol=1e-9) for x, y in zip(a.parameters(), b.parameters(), strict=True))
