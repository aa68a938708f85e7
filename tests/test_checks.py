"""The shared input checks: what passes, in which form, and what the others say."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from lib import checks


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.array(2), torch.tensor(2.0)])
def test_real_numbers_pass_as_float(value):
    assert checks.number("x", value, low=0) == 2.0
    assert type(checks.number("x", value)) is float


@pytest.mark.parametrize(
    ("value", "bounds", "error", "message"),
    [
        ("0.1", {}, TypeError, "x must be a finite number, got '0.1'"),
        (None, {}, TypeError, "x must be a finite number, got None"),
        (True, {}, TypeError, "x must be a finite number, got True"),
        (1j, {}, TypeError, "x must be a finite number, got 1j"),
        (math.nan, {"inf": True}, ValueError, "x must be a number, got nan"),
        (math.inf, {}, ValueError, "x must be a finite number, got inf"),
        (10**400, {}, ValueError, f"x must be a finite number, got 1{'0' * 56}..."),
        (-1, {"low": 0}, ValueError, "x must be a finite number at least 0, got -1"),
        (0, {"above": 0}, ValueError, "x must be a finite number above 0, got 0"),
        (1, {"above": 0, "below": 1}, ValueError, "x must be a finite number above 0 and below 1, got 1"),
        (3, {"low": 0, "high": 2}, ValueError, "x must be a finite number at least 0 and at most 2, got 3"),
    ],
)
def test_other_numbers_are_refused(value, bounds, error, message):
    with pytest.raises(error) as raised:
        checks.number("x", value, **bounds)
    assert str(raised.value) == message


def test_an_integer_that_python_does_not_write_is_refused_by_name():
    for check in (checks.number, checks.integer):
        with pytest.raises(ValueError, match=r"n must be .*, got int too long to show"):
            check("n", 10**5000)


def test_infinity_passes_where_it_is_allowed():
    assert checks.number("x", math.inf, low=0, inf=True) == math.inf


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), torch.tensor(3)])
def test_whole_numbers_pass_as_int(value):
    assert checks.integer("n", value, low=3, high=3) == 3
    assert type(checks.integer("n", value)) is int


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (10.5, TypeError),
        ("3", TypeError),
        (None, TypeError),
        (True, TypeError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (Fraction(10**400, 3), ValueError),
        (2**63, ValueError),
        (0, ValueError),
    ],
)
def test_other_counts_are_refused(value, error):
    with pytest.raises(error, match=r"n must be an integer at least 1(, got | of 64 bits, got )"):
        checks.integer("n", value, low=1)


def test_large_integers_stay_exact():
    assert checks.integer("n", 2**60 + 1) == 2**60 + 1


def test_probability_positive_boolean_choice_function():
    assert checks.probability("p", 1) == 1.0
    assert checks.positive("p", 0.5) == 0.5
    assert checks.boolean("b", np.True_) is True
    assert checks.choice("c", "a", ["a", "b"]) == "a"
    assert checks.function("f", abs) is abs
    for check, bad, error in [
        (checks.probability, 1.1, ValueError),
        (checks.positive, 0.0, ValueError),
        (checks.boolean, 1, TypeError),
        (checks.function, 3, TypeError),
    ]:
        with pytest.raises(error, match="name must be"):
            check("name", bad)
    for bad in ("z", ["a"], None):
        with pytest.raises(ValueError, match="c must be one of 'a', 'b', got"):
            checks.choice("c", bad, ["a", "b"])


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([1, 2], np.float64),
        (np.array([1, 2], np.float32), np.float32),
        (np.array([1, 2], np.float16), np.float32),
        (torch.tensor([1.0, 2.0], dtype=torch.float64), np.float64),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), np.float32),
        (torch.tensor([1.0, 2.0], requires_grad=True), np.float32),
        (np.array([True, False]), np.float64),
        (pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}), np.float64),
        (pd.Series([1, 2], dtype=object), np.float64),
    ],
)
def test_arrays_pass_with_a_type_to_compute_in(given, dtype):
    assert checks.array("x", given).dtype == dtype


@pytest.mark.parametrize(
    ("value", "how", "error", "message"),
    [
        ("abc", {}, TypeError, "x must hold real numbers, got 'abc'"),
        (None, {}, TypeError, "x must hold real numbers, got None"),
        ([None, 1], {}, TypeError, "x must hold real numbers"),
        ([1j], {}, TypeError, "x must hold real numbers"),
        (["1"], {}, TypeError, "x must hold real numbers"),
        (object(), {}, TypeError, "x must hold real numbers"),
        ([[1, 2], [3]], {}, ValueError, "x must be an array, got rows of different lengths"),
        ([], {}, ValueError, r"x must not be empty, got shape \(0,\)"),
        ([math.nan], {}, ValueError, "x must be finite, got NaN"),
        ([10**400, 1.0], {}, ValueError, "x must be finite, got an integer beyond the range of floats"),
        ([math.inf], {"nan": True}, ValueError, "x must be finite, got infinity"),
        ([1, 2], {"ndim": 2}, ValueError, r"x must have 2 dimensions, got shape \(2,\)"),
        ([[[1]]], {"ndim": (1, 2)}, ValueError, "x must have 1 or 2 dimensions"),
        ([1, 2], {"shape": (None, 3)}, ValueError, r"x must have shape \(any, 3\), got \(2,\)"),
        ([1, -2], {"low": 0}, ValueError, "every entry of x must be at least 0, got -2 to 1"),
        ([1, 0], {"above": 0}, ValueError, "every entry of x must be above 0, got 0 to 1"),
        ([1, 3], {"high": 2}, ValueError, "every entry of x must be at most 2, got 1 to 3"),
    ],
)
def test_other_arrays_are_refused(value, how, error, message):
    with pytest.raises(error, match=message):
        checks.array("x", value, **how)


def test_what_is_allowed_in_words_passes():
    assert np.isnan(checks.array("x", [math.nan], nan=True)).all()
    assert checks.array("x", [], empty=True).size == 0


def test_tensors_keep_type_and_identity():
    x = torch.ones(2, 3, dtype=torch.float16)
    assert checks.tensor("x", x, ndim=2) is x
    for bad, error in [([1.0], TypeError), (torch.ones(2, dtype=torch.int64), TypeError), (torch.ones(2), ValueError),
                       (torch.full((1, 1), math.nan), ValueError), (torch.ones(0, 2), ValueError)]:  # fmt: skip
        with pytest.raises(error, match="x must"):
            checks.tensor("x", bad, ndim=2)


def test_generators_come_from_every_kind_of_seed():
    own = np.random.default_rng(3)
    assert checks.generator("seed", own) is own
    assert checks.generator("seed", 3).random() == np.random.default_rng(3).random()
    assert (
        checks.generator("seed", np.random.RandomState(0)).random()
        == checks.generator("seed", np.random.RandomState(0)).random()
    )
    checks.generator("seed", None)
    assert checks.generator("seed", 2**100).random() == np.random.default_rng(2**100).random()
    for bad, error in [(-1, ValueError), (1.5, TypeError), ("0", TypeError), (math.nan, ValueError)]:
        with pytest.raises(error, match="seed must be an integer at least 0"):
            checks.generator("seed", bad)
