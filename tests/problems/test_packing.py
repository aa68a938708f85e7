"""Knapsack: the exact optimum against enumeration, bad input."""

import itertools

import numpy as np
import pytest

from lib.problems import packing


def test_knapsack_optimum_equals_enumeration():
    items = packing.uniform_knapsack(12, 0)
    chosen, value = packing.knapsack_optimum(items, 2.5)
    sets = np.array(list(itertools.product((0, 1), repeat=12)))
    best = (sets @ items[:, 0])[sets @ items[:, 1] <= 2.5].max()
    assert value == pytest.approx(best, abs=1e-9)
    assert items[chosen, 1].sum() <= 2.5 + 1e-9


def test_items_are_uniform_and_never_free():
    items = packing.uniform_knapsack(200, 0, count=3)
    assert items.shape == (3, 200, 2)
    assert (items > 0).all()
    assert items.max() <= 1.0
    assert (items == packing.uniform_knapsack(200, 0, count=3)).all()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_optimum_does_not_depend_on_units(scale):
    items = packing.uniform_knapsack(15, 3)
    expected, value = packing.knapsack_optimum(items, 3.0)
    for change in ([scale, 1.0], [1.0, scale]):
        chosen, found = packing.knapsack_optimum(items * change, 3.0 * change[1])
        assert (chosen == expected).all()
        assert found == pytest.approx(value * change[0])


def test_items_that_weigh_nothing_and_room_for_nothing():
    chosen, value = packing.knapsack_optimum([[3, 0], [2, 1]], 0)
    assert chosen.tolist() == [True, False]
    assert value == 3.0
    assert packing.knapsack_optimum([[0, 1], [0, 2]], 5)[1] == 0.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: packing.uniform_knapsack(0, 0), ValueError, "n_items"),
        (lambda: packing.uniform_knapsack(5.5, 0), TypeError, "n_items"),
        (lambda: packing.uniform_knapsack(5, 0, count=0), ValueError, "count"),
        (lambda: packing.uniform_knapsack(5, -1), ValueError, "seed"),
        (lambda: packing.knapsack_optimum([1.0, 2.0], 1.0), ValueError, "items"),
        (lambda: packing.knapsack_optimum([[1.0, np.nan]], 1.0), ValueError, "items"),
        (lambda: packing.knapsack_optimum([[1.0, -1.0]], 1.0), ValueError, "items"),
        (lambda: packing.knapsack_optimum("0.1", 1.0), TypeError, "items"),
        (lambda: packing.knapsack_optimum([[1.0, 2.0]], -1.0), ValueError, "capacity"),
        (lambda: packing.knapsack_optimum([[1.0, 2.0]], np.inf), ValueError, "capacity"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
