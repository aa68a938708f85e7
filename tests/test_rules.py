"""Rules on intervals: true, false, unknown; what a rule may hold."""

import math
import random

import pytest

from lib import rules
from lib.estimates import Estimate, exact


def between(low, high):
    return Estimate((low + high) / 2, low, high, 5)


POINT = exact([2.0])


@pytest.mark.parametrize(
    ("rule", "truth"),
    [
        ("a > 0", True),
        ("a > 2.5", None),
        ("a > 3", False),
        ("a >= 3", None),
        ("a < 1", False),
        ("a <= 1", None),
        ("a < 3.1", True),
        ("0 < a < 4", True),
        ("0 < a < 2", None),
        ("4 < a < 9", False),
        ("p == 2", True),
        ("p == 3", False),
        ("a == 2", None),
        ("a == 9", False),
        ("a > 0 and p == 2", True),
        ("a > 2 and p == 3", False),
        ("a > 2 and p == 2", None),
        ("a > 2 or p == 2", True),
        ("a > 2 or p == 3", None),
        ("a > 9 or p == 3", False),
        ("abs(b) < 2.1", True),
        ("abs(b) > 1", None),
        ("min(a, p) > 0.5", True),
        ("max(a, p) > 1.5", True),
        ("a - p < 1.5", True),
        ("a * b > -7", True),
        ("a / p > 0.4", True),
        ("p / b > 0", None),
        ("-a < 0", True),
    ],
)
def test_truth_on_whole_intervals(rule, truth):
    assert rules.truth(rule, {"a": between(1, 3), "b": between(-2, 1), "p": POINT}) is truth


@pytest.mark.parametrize(
    "rule", ["x < 0.1", "max(y, x) < 0.1", "min(x, y) > 0", "x - x == 0", "x / y < 1", "abs(x) >= 0", "1 / x < 2"]
)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_makes_nothing_true(rule, bad):
    broken = exact([bad])
    assert not rules.truth(rule, {"x": broken, "y": exact([0.05])})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("a", "compares values"),
        ("a +", "not an expression"),
        ("a if a else a", "compares values"),
        ("a > __import__('os')", "not allowed in a rule"),
        ("a != 1", "not allowed in a rule"),
        ("a > True", "not allowed in a rule"),
        ("a > 1e999", "not allowed in a rule"),
        ("a > 1 / 0", "divides by zero"),
        ("a > 1 and 3", "join comparisons"),
        ("(a > 1) + 1 > 0", "a comparison is no number"),
        ("a.b > 1", "not allowed in a rule"),
        ("max() > 1", "not allowed in a rule"),
        ("not a > 1", "compares values"),
    ],
)
def test_what_is_no_rule_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        rules.names(rule)


def test_division_by_a_measured_zero_is_refused():
    with pytest.raises(ValueError, match="divides by zero: 'a / b > 1'"):
        rules.truth("a / b > 1", {"a": POINT, "b": exact([0.0])})


def test_a_name_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="names 'c', which was not measured; measured: a"):
        rules.truth("c > 1", {"a": POINT})


def test_a_true_rule_holds_for_every_point_of_the_intervals():
    draw = random.Random(0)
    operations = ["a + b", "a - b", "a * b", "abs(a) * b", "min(a, b)", "max(a, -b)", "a / (b * b + 1)", "a - 2 * b / 3"]
    for _ in range(300):
        ends = [sorted(draw.uniform(-2, 2) for _ in range(2)) for _ in range(2)]
        values = {name: between(*pair) for name, pair in zip("ab", ends, strict=True)}
        rule = f"{draw.choice(operations)} < {draw.uniform(-2, 2)}"
        verdict = rules.truth(rule, values)
        points = [{n: draw.uniform(v.low, v.high) for n, v in values.items()} for _ in range(30)]
        found = {bool(eval(rule, {"abs": abs, "min": min, "max": max}, point)) for point in points}
        if verdict is not None:
            assert found == {verdict}, rule
