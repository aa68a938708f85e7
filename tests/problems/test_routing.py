"""Routing problems: exact solvers against brute force, heuristics against invariants, bad input."""

import itertools

import numpy as np
import pytest

from lib.problems import routing
from lib.problems.routing import heuristics, instances


def brute_force_tour(coords):
    tours = [(0, *rest) for rest in itertools.permutations(range(1, len(coords)))]
    return routing.tour_length(coords, tours).min()


@pytest.mark.parametrize("seed", range(4))
def test_held_karp_tour_equals_brute_force(seed):
    coords = routing.uniform_tsp(8, seed)
    tour, length = routing.held_karp_tour(coords)
    assert length == pytest.approx(brute_force_tour(coords), abs=1e-12)
    assert routing.tour_length(coords, tour) == pytest.approx(length, abs=1e-12)


def test_held_karp_paths_equal_brute_force_with_fixed_ends():
    paths = routing.uniform_tsp(7, 0, count=5)
    order, length = routing.held_karp_paths(paths)
    every = np.array([(0, *inner, 6) for inner in itertools.permutations(range(1, 6))])
    for path, found, best in zip(paths, order, length, strict=True):
        assert best == pytest.approx(routing.path_length(path[every]).min(), abs=1e-12)
        assert routing.path_length(path[found]) == pytest.approx(best, abs=1e-12)
        assert (found[0], found[-1]) == (0, 6)


def test_held_karp_path_of_three_points_has_no_choice():
    order, length = routing.held_karp_paths([[[0, 0], [3, 4], [0, 0]]])
    assert order.tolist() == [[0, 1, 2]]
    assert length[0] == 10.0


def test_lkh_is_optimal_on_small_instances():
    pytest.importorskip("elkai")
    paths = routing.uniform_tsp(10, 1, count=10)
    _, exact = routing.held_karp_paths(paths)
    for path, best in zip(paths, exact, strict=True):
        order = routing.lkh_path(path)
        assert (order[0], order[-1]) == (0, 9)
        assert routing.path_length(path[order]) == pytest.approx(best, rel=1e-5)
    coords = routing.uniform_tsp(9, 2)
    assert routing.lkh_tour(coords)[1] == pytest.approx(routing.held_karp_tour(coords)[1], rel=1e-6)


def test_lkh_keeps_the_ends_where_a_closed_tour_would_be_shorter():
    pytest.importorskip("elkai")
    angle = np.pi * np.array([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 6]) / 6  # a circle, from one side to the opposite one
    path = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    order = routing.lkh_path(path)
    assert (order[0], order[-1]) == (0, 11)
    assert routing.path_length(path[order]) == pytest.approx(routing.held_karp_paths(path[None])[1][0], rel=1e-5)


def test_missing_lkh_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "elkai", None)
    with pytest.raises(ImportError, match="pip install elkai"):
        routing.lkh_tour(routing.uniform_tsp(5, 0))


@pytest.mark.parametrize("seed", range(3))
def test_local_search_ends_where_no_single_move_helps(seed):
    coords = routing.uniform_tsp(11, seed)
    tour = routing.local_search(coords, np.random.default_rng(seed).permutation(11))
    length = routing.tour_length(coords, tour)
    for i, j in itertools.combinations(range(12), 2):  # every 2-opt move, by its definition
        other = np.concatenate([tour[:i], tour[i:j][::-1], tour[j:]])
        assert routing.tour_length(coords, other) >= length - 1e-9
    for size, start in itertools.product((1, 2, 3), range(11)):  # every Or-opt move
        turned = np.roll(tour, -start)
        stretch, rest = turned[:size], turned[size:]
        for place, piece in itertools.product(range(len(rest) + 1), (stretch, stretch[::-1])):
            assert routing.tour_length(coords, np.concatenate([rest[:place], piece, rest[place:]])) >= length - 1e-9


def test_best_moves_gain_what_they_say():
    coords, tour = routing.uniform_tsp(15, 3), np.random.default_rng(3).permutation(15)
    distance = routing.distance_matrix(coords)
    for best in (heuristics._best_two_opt, heuristics._best_or_opt):
        gain, better = best(distance, tour)
        assert routing.is_tour(better, 15)
        assert routing.tour_length(coords, tour) - routing.tour_length(coords, better) == pytest.approx(gain, abs=1e-12)


def test_iterated_local_search_never_loses_and_repeats():
    coords = routing.uniform_tsp(40, 0)
    start = routing.nearest_neighbor(coords)
    first, second = (routing.iterated_local_search(coords, start, kicks=10, seed=1) for _ in range(2))
    assert (first == second).all()
    assert routing.tour_length(coords, first) <= routing.tour_length(coords, routing.local_search(coords, start)) + 1e-12


def test_nearest_neighbor_follows_its_rule():
    coords = routing.uniform_tsp(20, 0)
    tour = routing.nearest_neighbor(coords, start=7)
    assert tour[0] == 7
    for t in range(1, 20):
        reach = np.linalg.norm(coords[tour[t:]] - coords[tour[t - 1]], axis=1)
        assert reach[0] == reach.min()


def test_random_insertion_is_a_tour_and_beats_a_random_one():
    coords = routing.uniform_tsp(60, 0)
    tour = routing.random_insertion(coords, 0)
    assert routing.is_tour(tour, 60)
    assert routing.tour_length(coords, tour) < 0.4 * routing.tour_length(coords, np.arange(60))


def test_projection_keeps_the_aspect_of_a_small_country():
    degrees = np.array([[10.0, 60.0], [12.0, 60.0], [10.0, 59.0], [12.0, 59.0]])
    plane = instances._project(degrees)
    assert plane.min() == 0.0
    assert plane[1] == pytest.approx([1.0, 1.0], abs=0.02)  # 2 degrees of longitude at 60 north are 1 of latitude


@pytest.mark.network
def test_cities_are_the_largest_and_fill_the_square():
    coords = routing.cities("DE", 100)
    assert coords.shape == (100, 2)
    assert coords.max() == 1.0
    assert coords.min() == 0.0
    with pytest.raises(ValueError, match="'LI' has"):
        routing.cities("LI", 100)


# ------------------------------------------------------------------------------------------------- scale, origin, size


@pytest.mark.parametrize("scale", [2.0**-33, 2.0**27, 2.0**500])  # powers of two: ties stay ties
def test_no_unit_of_length_is_better_than_another(scale):
    coords = routing.uniform_tsp(40, 0)
    start = np.random.default_rng(0).permutation(40)
    assert (routing.local_search(coords, start) == routing.local_search(coords * scale, start)).all()
    first, second = (routing.iterated_local_search(x, start, kicks=3, seed=0) for x in (coords, coords * scale))
    assert (first == second).all()
    assert routing.tour_length(coords * scale, start) == pytest.approx(scale * routing.tour_length(coords, start), rel=1e-12)
    assert routing.held_karp_tour(coords[:8] * scale)[0].tolist() == routing.held_karp_tour(coords[:8])[0].tolist()


@pytest.mark.parametrize("scale", [1e-10, 1e8])
def test_local_search_ends_and_helps_in_any_unit(scale):
    coords, start = routing.uniform_tsp(60, 0), np.random.default_rng(0).permutation(60)
    found = routing.local_search(coords * scale, start, max_moves=1000)
    assert (routing.local_search(coords * scale, found) == found).all()
    assert routing.tour_length(coords, found) < 0.4 * routing.tour_length(coords, start)


def test_lkh_takes_any_unit_of_length():
    pytest.importorskip("elkai")
    coords = routing.uniform_tsp(30, 0)
    for scale in (1e-200, 1e200):
        assert routing.lkh_tour(coords * scale)[1] == pytest.approx(scale * routing.lkh_tour(coords)[1], rel=1e-9)
    assert (routing.lkh_path(coords[:12] * 1e-200) == routing.lkh_path(coords[:12])).all()


@pytest.mark.parametrize("n_cities", [1, 2, 3])
def test_trivial_tours(n_cities):
    coords = routing.uniform_tsp(n_cities, 0)
    start = np.arange(n_cities)
    tours = [
        routing.held_karp_tour(coords)[0],
        routing.lkh_tour(coords)[0],
        routing.lkh_path(coords),
        routing.nearest_neighbor(coords),
        routing.random_insertion(coords, 0),
        routing.local_search(coords, start),
        routing.iterated_local_search(coords, start, 2, 0),
    ]
    assert all(routing.is_tour(tour, n_cities) for tour in tours)
    assert routing.held_karp_tour(coords)[1] == pytest.approx(float(routing.tour_length(coords, start)))


def test_cities_in_one_place_are_no_division_by_zero():
    coords = np.ones((6, 2))
    assert routing.lkh_tour(coords)[1] == routing.held_karp_tour(coords)[1] == 0.0
    assert (routing.local_search(coords, np.arange(6)) == np.arange(6)).all()


def test_inputs_stay_as_they_are():
    coords, tour = routing.uniform_tsp(20, 0), np.random.default_rng(0).permutation(20)
    before = coords.copy(), tour.copy()
    routing.local_search(coords, tour)
    routing.iterated_local_search(coords, tour, 2, 0)
    routing.held_karp_tour(coords[:7])
    assert (coords == before[0]).all()
    assert (tour == before[1]).all()


BAD_POINTS = [
    (np.full((5, 2), np.nan), ValueError),
    (np.full((5, 2), np.inf), ValueError),
    (np.full((5, 2), 1e305), ValueError),
    (np.empty((0, 2)), ValueError),
    (np.ones((5, 3)), ValueError),
    ("0.1", TypeError),
    (None, TypeError),
    (np.ones((5, 2), dtype=complex), TypeError),
]


@pytest.mark.parametrize(("bad", "error"), BAD_POINTS, ids=str)
def test_points_are_checked_at_every_door(bad, error):
    tour = np.arange(5)
    for call, name in [
        (routing.distance_matrix, "coords"),
        (lambda x: routing.tour_length(x, tour), "coords"),
        (routing.path_length, "paths"),
        (lambda x: routing.held_karp_paths(x if isinstance(x, str | None) else x[None]), "paths"),
        (routing.held_karp_tour, "coords"),
        (routing.lkh_tour, "coords"),
        (routing.lkh_path, "path"),
        (routing.nearest_neighbor, "coords"),
        (lambda x: routing.random_insertion(x, 0), "coords"),
        (lambda x: routing.local_search(x, tour), "coords"),
        (lambda x: routing.iterated_local_search(x, tour, 1, 0), "coords"),
    ]:
        with pytest.raises(error, match=name):
            call(bad)


COORDS = routing.uniform_tsp(6, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: routing.uniform_tsp(0, 0), ValueError, "n_cities"),
        (lambda: routing.uniform_tsp(5.5, 0), TypeError, "n_cities"),
        (lambda: routing.uniform_tsp(5, 0, count=0), ValueError, "count"),
        (lambda: routing.uniform_tsp(5, -1), ValueError, "seed"),
        (lambda: routing.tour_length(np.eye(2), [0, 0]), ValueError, "tours must hold permutations of 0..1"),
        (lambda: routing.tour_length(np.eye(2), [0.5, 0.5]), ValueError, "tours"),
        (lambda: routing.tour_length(np.eye(2), "01"), TypeError, "tours"),
        (lambda: routing.held_karp_tour(routing.uniform_tsp(20, 0)), ValueError, "at most 12"),
        (lambda: routing.held_karp_paths(routing.uniform_tsp(20, 0, count=1)), ValueError, "2 <= n <= 13"),
        (lambda: routing.held_karp_tour(np.zeros((1, 4, 2))), ValueError, "coords"),
        (lambda: routing.nearest_neighbor(COORDS, -1), ValueError, "start"),
        (lambda: routing.nearest_neighbor(COORDS, 6), ValueError, "start"),
        (lambda: routing.local_search(COORDS, [0, 1, 2, 3, 4, 4]), ValueError, "tour"),
        (lambda: routing.local_search(COORDS, np.arange(6)[None]), ValueError, "tour"),
        (lambda: routing.local_search(COORDS, np.arange(6), max_moves=-1), ValueError, "max_moves"),
        (lambda: routing.iterated_local_search(COORDS, np.arange(6), -1, 0), ValueError, "kicks"),
        (lambda: routing.lkh_tour(COORDS, runs=0), ValueError, "runs"),
        (lambda: routing.is_tour([0], 0), ValueError, "n_cities"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_is_no_tour_is_none():
    for wrong in ([0.5, 0.0], [[0, 1], [1, 1]], 3, [0], [-1, 0]):
        assert not routing.is_tour(wrong, 2)
    with pytest.raises(TypeError, match="tours"):
        routing.is_tour("01", 2)
