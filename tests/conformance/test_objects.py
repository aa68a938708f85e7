"""What everything exported must hold: objects survive pickling and copying, arguments are left alone, kinds are enrolled."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

from tests.conformance import test_estimators, test_losses, test_optimizers, test_schedulers, test_solvers
from tests.conformance.exports import _quiet, example_call, exports

EXPORTS = exports()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    if type(a).__module__.startswith("torch") and hasattr(a, "equal"):
        return bool(a.equal(b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return True


def plain(value: Any) -> bool:
    """Whether pickle can be blamed: functions of an example and generators over things live only there."""
    return not (inspect.isfunction(value) or inspect.isgenerator(value) or getattr(value, "__module__", "") == "builtins")


@pytest.mark.parametrize("export", [e for e in EXPORTS if inspect.isclass(e.target)], ids=str)
def test_objects_survive_pickling_and_copying(export, monkeypatch):
    bound = example_call(export, monkeypatch)
    assert bound is not None
    with _quiet():
        made = export.target(*bound.args, **bound.kwargs)
    copied = copy.deepcopy(made)
    assert type(copied) is type(made)
    if all(plain(value) for value in bound.arguments.values()):
        assert type(pickle.loads(pickle.dumps(made))) is type(made)


@pytest.mark.parametrize("export", [e for e in EXPORTS if inspect.isfunction(e.target)], ids=str)
def test_arguments_are_left_alone(export, monkeypatch):
    bound = example_call(export, monkeypatch)
    assert bound is not None
    kept = {name: copy.deepcopy(v) for name, v in bound.arguments.items() if isinstance(v, np.ndarray | list | dict)}
    with _quiet():
        export.target(*bound.args, **bound.kwargs)
    for name, value in kept.items():
        assert same(value, bound.arguments[name]), name


def writes(function: Any) -> Any:
    """The same function, but that afterwards it fills what it was given with NaN."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        if isinstance(answer, np.ndarray):
            answer = answer.copy()  # it may be what was given
        for given in args:
            if isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.flags.writeable:
                given.fill(np.nan)
        return answer

    return wrapped


@pytest.mark.parametrize("export", EXPORTS, ids=str)
def test_a_function_that_writes_into_its_argument_changes_nothing(export, monkeypatch):
    bound = example_call(export, monkeypatch)
    assert bound is not None
    functions = [name for name, value in bound.arguments.items() if inspect.isfunction(value)]
    if not functions or ".study" in export.module:  # whose functions are the chapter's own
        return
    calls = []
    for changed in (False, True):
        arguments = {
            name: writes(value) if changed and name in functions else value if name in functions else copy.deepcopy(value)
            for name, value in bound.arguments.items()
        }
        call = inspect.BoundArguments(bound.signature, arguments)  # type: ignore[arg-type]
        with _quiet():
            calls.append(export.target(*call.args, **call.kwargs))
    plain_answer, answer = calls
    assert same(getattr(plain_answer, "x", plain_answer), getattr(answer, "x", answer))


def bases(target: Any) -> set[str]:
    return {base.__name__ for base in target.__mro__} if inspect.isclass(target) else set()


@pytest.mark.parametrize("export", EXPORTS, ids=str)
def test_kinds_are_enrolled_by_being_exported(export, monkeypatch):
    """An optimizer, scheduler, loss, estimator or solver that the shared file of its kind does not try is an oversight."""
    target, kinds = export.target, bases(export.target)
    if ".study" in export.module:
        return
    if "Optimizer" in kinds:
        assert target in test_optimizers.CLASSES
    if "LRScheduler" in kinds:
        assert target in test_schedulers.CLASSES
    if "BaseEstimator" in kinds:
        assert target in {type(estimator) for estimator in test_estimators.ESTIMATORS}
    pair = "Module" in kinds and len(inspect.signature(target.forward).parameters) > 2
    if pair and export.name.endswith("Loss"):  # those of one input have no targets to be tried with
        assert target in {type(loss) for loss, _ in test_losses.LOSSES.values()}
    if inspect.isfunction(target) and "OptimizeResult" in str(inspect.signature(target).return_annotation):
        assert export.name in test_solvers.SOLVERS
