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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: packing.uniform_knapsack(0, 0), "n_items and count must be at least 1"),
        (lambda: packing.uniform_knapsack(5, 0, count=0), "n_items and count must be at least 1"),
        (lambda: packing.knapsack_optimum([1.0, 2.0], 1.0), r"shape \(N, 2\)"),
        (lambda: packing.knapsack_optimum([[1.0, 2.0]], 0.0), "capacity must be positive"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
