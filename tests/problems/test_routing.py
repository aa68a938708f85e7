"""Routing problems: exact solvers against brute force, heuristics against invariants, bad input."""

import itertools

import numpy as np
import pytest

from lib.problems import routing


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
    for best in (routing._best_two_opt, routing._best_or_opt):
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
    plane = routing._project(degrees)
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: routing.uniform_tsp(2, 0), "at least 3 cities"),
        (lambda: routing.uniform_tsp(5, 0, count=0), "count must be at least 1"),
        (lambda: routing.tour_length(np.eye(2), [0, 0]), "permutation of 0..1"),
        (lambda: routing.held_karp_tour(routing.uniform_tsp(20, 0)), "3 <= n <= 13"),
        (lambda: routing.held_karp_tour(np.zeros((1, 4, 2))), r"shape \(N, 2\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
