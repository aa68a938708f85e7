"""An interpreter of small Python expressions over one list of integers: nothing is compiled or evaluated by Python itself.

The source is parsed to a syntax tree, the tree is checked against a short list of allowed nodes, and an own interpreter walks
it. A name can only be the list, a variable of a comprehension or an allowed function that is called; there is no attribute,
subscript, string, power, lambda or assignment. Work is counted as fuel, numbers are bounded, the tree's size too.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lib import checks

#: Functions that a program may call.
FUNCTIONS = ("abs", "len", "max", "min", "sum")
#: Longest source in characters.
MAX_CHARACTERS = 1000
#: Most comprehensions inside each other.
MAX_NESTING = 2

_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}


class Refused(Exception):
    """A program that may not run, or that was stopped; `kind` is one of the kinds of `Failure`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Machine:
    """Fuel and the bound of numbers of one run."""

    def __init__(self, fuel: int, magnitude: int) -> None:
        self.fuel, self.magnitude = fuel, magnitude

    def burn(self, units: int) -> None:
        self.fuel -= units
        if self.fuel < 0:
            raise Refused("limit", "out of fuel")

    def bounded(self, value: int) -> int:
        if not -self.magnitude <= value <= self.magnitude:
            raise Refused("limit", f"a number beyond {checks.shown(self.magnitude)}")
        return value


class _Drawn(tuple):
    """Items of a generator expression: they can be run through, but have no length."""


_Code = Callable[[dict[str, Any], _Machine], Any]


def parse(source: str, max_nodes: int = 80) -> _Code:
    """Code of an expression, to be run by `evaluate`.

    Parameters
    ----------
    source : str
    max_nodes : int
        Most expressions, comprehensions and keywords in the tree.

    Raises
    ------
    Refused
        "syntax" for what is no expression, "limit" for one that is too long or too deep, "forbidden" for a construct that is
        not allowed.
    """
    if len(source) > MAX_CHARACTERS:
        raise Refused("limit", f"more than {MAX_CHARACTERS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sampled text such as "0in x" warns
            tree = ast.parse(source.strip(" "), mode="eval")
    except (SyntaxError, ValueError):
        raise Refused("syntax", "not an expression") from None
    except (RecursionError, MemoryError):
        raise Refused("limit", "nested too deep") from None
    size = sum(isinstance(node, ast.expr | ast.comprehension | ast.keyword) for node in ast.walk(tree))
    if size > max_nodes:
        raise Refused("limit", f"{size} nodes, more than {max_nodes}")
    try:
        return _code(tree.body, frozenset("x"), 0)
    except RecursionError:  # where the caller is deep already
        raise Refused("limit", "nested too deep") from None


def evaluate(code: _Code, x: Sequence[int], fuel: int, magnitude: int) -> Any:
    """Value of code from `parse` for the list `x`.

    Raises
    ------
    Refused
        "limit" where fuel runs out or a number grows too large, "error" where the program fails.
    """
    try:
        return code({"x": [int(v) for v in x]}, _Machine(fuel, magnitude))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise Refused("error", f"{type(error).__name__}: {error}") from None
    except RecursionError:
        raise Refused("limit", "nested too deep") from None


def _code(node: ast.AST, names: frozenset[str], nesting: int) -> _Code:
    """Code of a node; `names` are the variables that it may read."""
    builder = _BUILDERS.get(type(node))
    if builder is None:
        raise Refused("forbidden", f"{type(node).__name__} is not allowed")
    return builder(node, names, nesting)


def _constant(node: ast.Constant, names: frozenset[str], nesting: int) -> _Code:
    value = node.value
    if type(value) is not int:
        raise Refused("forbidden", f"a constant must be an integer, not {type(value).__name__}")
    return lambda env, machine: machine.bounded(value)


def _name(node: ast.Name, names: frozenset[str], nesting: int) -> _Code:
    name = node.id
    if name not in names:
        raise Refused("forbidden", f"the name {name[:20]!r} is not allowed")
    return lambda env, machine: env[name]


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"an integer is needed, not {type(value).__name__}")
    return value


def _binary(node: ast.BinOp, names: frozenset[str], nesting: int) -> _Code:
    apply = _ARITHMETIC.get(type(node.op))
    if apply is None:
        raise Refused("forbidden", f"the operator {type(node.op).__name__} is not allowed")
    left, right = _code(node.left, names, nesting), _code(node.right, names, nesting)

    def run(env: dict[str, Any], machine: _Machine) -> int:
        machine.burn(1)
        return machine.bounded(apply(_number(left(env, machine)), _number(right(env, machine))))

    return run


def _unary(node: ast.UnaryOp, names: frozenset[str], nesting: int) -> _Code:
    apply = _SIGNS.get(type(node.op))
    if apply is None:
        raise Refused("forbidden", f"the operator {type(node.op).__name__} is not allowed")
    operand = _code(node.operand, names, nesting)
    return lambda env, machine: apply(_number(operand(env, machine)))


def _compare(node: ast.Compare, names: frozenset[str], nesting: int) -> _Code:
    found = [_COMPARISONS.get(type(op)) for op in node.ops]
    relations = [relation for relation in found if relation is not None]
    if len(relations) < len(found):
        raise Refused("forbidden", "this comparison is not allowed")
    terms = [_code(term, names, nesting) for term in (node.left, *node.comparators)]

    def run(env: dict[str, Any], machine: _Machine) -> bool:
        left = _number(terms[0](env, machine))
        for relation, term in zip(relations, terms[1:], strict=True):
            machine.burn(1)
            right = _number(term(env, machine))
            if not relation(left, right):
                return False
            left = right
        return True

    return run


def _boolean(node: ast.BoolOp, names: frozenset[str], nesting: int) -> _Code:
    terms, wanted = [_code(term, names, nesting) for term in node.values], isinstance(node.op, ast.Or)

    def run(env: dict[str, Any], machine: _Machine) -> int:
        value = 0
        for term in terms:
            machine.burn(1)
            value = _number(term(env, machine))
            if bool(value) is wanted:
                break
        return value

    return run


def _choice(node: ast.IfExp, names: frozenset[str], nesting: int) -> _Code:
    test, yes, no = (_code(part, names, nesting) for part in (node.test, node.body, node.orelse))

    def run(env: dict[str, Any], machine: _Machine) -> Any:
        machine.burn(1)
        return yes(env, machine) if _number(test(env, machine)) else no(env, machine)

    return run


def _display(node: ast.List | ast.Set, names: frozenset[str], nesting: int) -> _Code:
    items, kind = [_code(item, names, nesting) for item in node.elts], list if isinstance(node, ast.List) else set

    def run(env: dict[str, Any], machine: _Machine) -> Any:
        machine.burn(len(items))
        return kind(_number(item(env, machine)) for item in items)

    return run


def _comprehension(node: ast.ListComp | ast.SetComp | ast.GeneratorExp, names: frozenset[str], nesting: int) -> _Code:
    if nesting >= MAX_NESTING:
        raise Refused("forbidden", f"comprehensions nested more than {MAX_NESTING} deep are not allowed")
    loops = []
    for loop in node.generators:
        if loop.is_async or not isinstance(loop.target, ast.Name) or loop.target.id in FUNCTIONS:
            raise Refused("forbidden", "a comprehension's variable must be a plain name")
        source = _code(loop.iter, names, nesting + 1)
        names = names | {loop.target.id}
        loops.append((loop.target.id, source, [_code(test, names, nesting + 1) for test in loop.ifs]))
    element = _code(node.elt, names, nesting + 1)
    kind = {ast.ListComp: list, ast.SetComp: set, ast.GeneratorExp: _Drawn}[type(node)]

    def items(env: dict[str, Any], machine: _Machine, depth: int) -> Iterator[int]:
        if depth == len(loops):
            yield _number(element(env, machine))
            return
        variable, source, tests = loops[depth]
        for value in _iterable(source(env, machine)):
            machine.burn(1)
            inner = {**env, variable: value}
            if all(_number(test(inner, machine)) for test in tests):
                yield from items(inner, machine, depth + 1)

    return lambda env, machine: kind(items(env, machine, 0))


def _iterable(value: Any) -> Any:
    if not isinstance(value, list | set | _Drawn):
        raise TypeError(f"a list is needed, not {type(value).__name__}")
    return value


def _call(node: ast.Call, names: frozenset[str], nesting: int) -> _Code:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        raise Refused("forbidden", "only " + ", ".join(FUNCTIONS) + " may be called")
    function, keywords = node.func.id, node.keywords
    if keywords and (function not in ("max", "min") or [word.arg for word in keywords] != ["default"]):
        raise Refused("forbidden", "the only keyword is default, of max and min")
    given = [_code(argument, names, nesting) for argument in node.args]
    default = [_code(word.value, names, nesting) for word in keywords]

    def run(env: dict[str, Any], machine: _Machine) -> int:
        values = [argument(env, machine) for argument in given]
        rest = {"default": _number(default[0](env, machine))} if default else {}
        machine.burn(1 + sum(len(value) for value in values if not isinstance(value, int)))
        return machine.bounded(_APPLY[function](*values, **rest))

    return run


def _absolute(value: Any) -> int:
    return abs(_number(value))


def _length(value: Any) -> int:
    if isinstance(value, _Drawn):
        raise TypeError("a generator has no length")
    return len(_iterable(value))


def _total(values: Any, start: Any = 0) -> int:
    return sum(_iterable(values), _number(start))


def _extreme(best: Callable[..., int]) -> Callable[..., int]:
    def apply(*values: Any, **default: int) -> int:
        if len(values) == 1:
            return best(_iterable(values[0]), **default)
        return best(*map(_number, values), **default)

    return apply


_APPLY: dict[str, Callable[..., int]] = {
    "abs": _absolute,
    "len": _length,
    "sum": _total,
    "max": _extreme(max),
    "min": _extreme(min),
}
_BUILDERS: dict[type, Callable[..., _Code]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.BoolOp: _boolean,
    ast.IfExp: _choice,
    ast.List: _display,
    ast.Set: _display,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Call: _call,
}
