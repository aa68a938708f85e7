"""Rules: comparisons of measured values that are true, false or unknown.

A rule is an expression over the values of one entry, such as ``"gain > 0 and ratio < 1.1"``. Each value is an estimate
with an interval; arithmetic works on whole intervals, and a comparison is true if it holds for the whole interval, false if
for no part of it, else unknown (``None``). A value that is not finite makes every comparison it enters unknown.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from lib.estimates import Estimate

Interval = tuple[float, float]
_UNKNOWN: Interval = (math.nan, math.nan)

_CALLS = ("abs", "min", "max")
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def truth(rule: str, values: Mapping[str, Estimate]) -> bool | None:
    """Whether a rule holds: True, False, or None for unknown.

    Parameters
    ----------
    rule : str
        Comparisons (also chained) joined by and/or, with + - * /, abs, min, max, numbers and names of values.
    values : mapping of str to Estimate

    Raises
    ------
    ValueError
        If the rule is no such expression, names a value that was not measured, or divides by zero.

    Examples
    --------
    >>> from lib.estimates import Estimate
    >>> from lib.rules import truth
    >>> gain = Estimate(0.2, 0.1, 0.3, 10)
    >>> truth("gain > 0", {"gain": gain}), truth("gain > 0.5", {"gain": gain}), truth("gain > 0.2", {"gain": gain})
    (True, False, None)
    """
    return _truth(_parsed(rule), values, rule)


def names(rule: str) -> set[str]:
    """The values that a rule names; ValueError where the rule is not allowed.

    Examples
    --------
    >>> from lib.rules import names
    >>> sorted(names("abs(a - b) < 2 * c"))
    ['a', 'b', 'c']
    """
    found = {node.id for node in ast.walk(_parsed(rule)) if isinstance(node, ast.Name)}
    return found - set(_CALLS)


@cache
def _parsed(rule: str) -> ast.expr:
    try:
        tree = ast.parse(rule, mode="eval").body
    except (SyntaxError, TypeError):
        raise ValueError(f"not an expression: {rule!r}") from None
    if not isinstance(tree, ast.Compare | ast.BoolOp):
        raise ValueError(f"a rule compares values, this one does not: {rule!r}")
    _check(tree, rule)
    return tree


def _check(node: ast.AST, rule: str) -> None:
    match node:
        case ast.BoolOp(values=parts):
            if not all(isinstance(part, ast.Compare | ast.BoolOp) for part in parts):
                raise ValueError(f"and/or join comparisons, not numbers: {rule!r}")
            inner: list[ast.AST] = list(parts)
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(isinstance(op, _COMPARISONS) for op in ops):
            inner = [left, *rest]
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            if isinstance(op, ast.Div) and isinstance(right, ast.Constant) and right.value == 0:
                raise ValueError(f"divides by zero: {rule!r}")
            inner = [left, right]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = [operand]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _CALLS and args:
            inner = list(args)
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and math.isfinite(number):
            inner = []
        case ast.Name():
            inner = []
        case _:
            raise ValueError(f"not allowed in a rule: {ast.unparse(node)!r} in {rule!r}")
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Call | ast.Compare) and any(
        isinstance(part, ast.Compare | ast.BoolOp) for part in inner
    ):
        raise ValueError(f"a comparison is no number: {rule!r}")
    for part in inner:
        _check(part, rule)


def _truth(node: ast.expr, values: Mapping[str, Estimate], rule: str) -> bool | None:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, values, rule) for part in node.values]
        decisive = isinstance(node.op, ast.Or)  # one true part decides an "or", one false part an "and"
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    assert isinstance(node, ast.Compare)
    sides = [_interval(part, values, rule) for part in (node.left, *node.comparators)]
    verdicts = [_compare(op, a, b) for op, a, b in zip(node.ops, sides, sides[1:], strict=False)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _compare(op: ast.cmpop, a: Interval, b: Interval) -> bool | None:
    if any(map(math.isnan, (*a, *b))):
        return None
    match op:
        case ast.Lt():
            return True if a[1] < b[0] else False if a[0] >= b[1] else None
        case ast.LtE():
            return True if a[1] <= b[0] else False if a[0] > b[1] else None
        case ast.Gt() | ast.GtE():
            return _compare(ast.Lt() if isinstance(op, ast.Gt) else ast.LtE(), b, a)
    return True if a[0] == a[1] == b[0] == b[1] else False if a[1] < b[0] or b[1] < a[0] else None


def _interval(node: ast.expr, values: Mapping[str, Estimate], rule: str) -> Interval:
    match node:
        case ast.Constant(value=number):
            return float(number), float(number)  # type: ignore[arg-type]
        case ast.Name(id=name):
            if name not in values:
                raise ValueError(f"{rule!r} names {name!r}, which was not measured; measured: {', '.join(values) or 'nothing'}")
            known = values[name]
            return (known.low, known.high) if known.finite else _UNKNOWN
        case ast.UnaryOp(operand=operand):
            low, high = _interval(operand, values, rule)
            return -high, -low
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_interval(left, values, rule), _interval(right, values, rule), rule)
        case ast.Call(func=ast.Name(id=name), args=args):
            parts = [_interval(arg, values, rule) for arg in args]
            if any(math.isnan(end) for part in parts for end in part):
                return _UNKNOWN
            if name == "abs":
                low, high = parts[0]
                return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
            pick: Callable[..., float] = min if name == "min" else max
            return pick(part[0] for part in parts), pick(part[1] for part in parts)
    raise AssertionError(node)


def _sum(a: Interval, b: Interval, rule: str) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def _difference(a: Interval, b: Interval, rule: str) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def _product(a: Interval, b: Interval, rule: str) -> Interval:
    if any(map(math.isnan, (*a, *b))):
        return _UNKNOWN
    ends = [0.0 if x == 0 or y == 0 else x * y for x in a for y in b]  # zero times what is not known is zero
    return min(ends), max(ends)


def _quotient(a: Interval, b: Interval, rule: str) -> Interval:
    if b == (0.0, 0.0):
        raise ValueError(f"divides by zero: {rule!r}")
    if any(map(math.isnan, (*a, *b))):
        return _UNKNOWN
    if b[0] <= 0 <= b[1]:
        return -math.inf, math.inf
    return _product(a, (1 / b[1], 1 / b[0]), rule)


_ARITHMETIC: dict[type, Any] = {ast.Add: _sum, ast.Sub: _difference, ast.Mult: _product, ast.Div: _quotient}
