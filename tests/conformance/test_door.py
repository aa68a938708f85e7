"""The door of everything that is exported: its example runs, and a bad argument is refused by name within a second.

Exporting enrolls. The call that is tried is that of the docstring's example; every numeric argument of it is replaced in turn
by NaN, infinity, a negative number, an integer beyond the range of floats, something empty and something of another kind.
Allowed is an error (``ValueError`` or ``TypeError``) that names the argument, or an answer without NaN; for NaN and infinity
only where the docstring says so.
"""

from __future__ import annotations

import copy
import dataclasses
import doctest
import importlib
import inspect
import math
import re
import signal
import warnings
from typing import Any

import numpy as np
import pytest

from tests.conformance.exports import _quiet, described, example_call, exports

EXPORTS = exports()
#: Arguments that take integers of any width.
SEEDS = ("seed", "rng")
ALLOWED = {"nan": r"NaN", "inf": r"infinit|unbounded", "empty": r"empty|no entries"}


@pytest.fixture(params=EXPORTS, ids=str)
def export(request):
    return request.param


def is_estimator(target: Any) -> bool:
    return inspect.isclass(target) and any(base.__name__ == "BaseEstimator" for base in target.__mro__)


def test_example_runs_as_it_stands(export):
    target = export.target
    tests = doctest.DocTestFinder(recurse=False).find(
        target, export.name, module=importlib.import_module(target.__module__), globs={}
    )
    assert any(test.examples for test in tests), f"{export} has no example in its docstring"
    runner, told = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for test in tests:
            runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)


class _TooLong(Exception):
    pass


def _within(seconds: float, call: Any) -> Any:
    """Call with a limit in CPU seconds of this process: a busy machine does not count."""

    def stop(*_: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def kind_of(value: Any) -> str | None:
    """``"number"``, ``"array"``, ``"tensor"`` or None for what is no numeric argument."""
    if isinstance(value, bool | str) or value is None:
        return None
    if isinstance(value, int | float | np.number):
        return "number"
    if type(value).__name__ in ("Tensor", "Parameter"):
        return "tensor" if value.is_floating_point() and value.numel() else None
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.size:
        return "array"
    if isinstance(value, list) and value and all(kind_of(v) == "number" for v in value):
        return "array"
    return None


def broken(value: Any, kind: str) -> dict[str, Any]:
    """Names of faults -> the value with that fault."""
    if kind == "number":
        numbers = {"nan": math.nan, "inf": math.inf, "negative": -abs(value) - 1, "huge": 10**400}
        return numbers | {"text": "0.1", "object": object()}
    if kind == "tensor":
        import torch

        changed = {}
        for name, number in (("nan", math.nan), ("inf", math.inf)):
            changed[name] = value.detach().clone()
            changed[name].view(-1)[0] = number
        return changed | {"empty": torch.empty(0, dtype=value.dtype), "text": "0.1", "object": object()}
    array = np.asarray(value)
    changed = {}
    if array.dtype.kind == "f":
        for name, number in (("nan", math.nan), ("inf", math.inf)):
            changed[name] = array.copy()
            changed[name].flat[0] = number
    else:
        changed["nan"] = array.astype(float)
        changed["nan"].flat[0] = math.nan
    return changed | {"empty": array[:0], "text": "0.1", "object": object(), "complex": array + 1j}


def has_nan(result: Any, depth: int = 0) -> bool:
    if isinstance(result, float | np.floating):
        return math.isnan(result)
    if isinstance(result, np.ndarray):
        return result.dtype.kind == "f" and bool(np.isnan(result).any())
    if hasattr(result, "isnan") and hasattr(result, "any"):
        return bool(result.isnan().any())
    if isinstance(result, dict) and depth < 2:
        return any(has_nan(value, depth + 1) for value in result.values())
    if isinstance(result, list | tuple) and depth < 2:
        return any(has_nan(value, depth + 1) for value in result[:100])
    return False


def attempt(target: Any, bound: inspect.BoundArguments, name: str, value: Any) -> Any:
    arguments = {key: value if key == name else _copied(given) for key, given in bound.arguments.items()}
    call = inspect.BoundArguments(bound.signature, arguments)  # type: ignore[arg-type]
    with _quiet():
        result = target(*call.args, **call.kwargs)
        if is_estimator(target):  # scikit-learn looks at parameters in fit
            rng = np.random.default_rng(0)
            X = rng.normal(size=(40, 3))
            result.fit(X, (X[:, 0] > 0).astype(int))
            return None
        return list(result) if inspect.isgenerator(result) else result


def _copied(given: Any) -> Any:
    try:
        return copy.deepcopy(given)
    except Exception:
        return given


def test_bad_arguments_are_refused_by_name(export, monkeypatch):
    target = export.target
    bound = example_call(export, monkeypatch)
    assert bound is not None, f"no example of {export} calls it"
    faults = []
    for name, value in list(bound.arguments.items()):
        kind = kind_of(value)
        if kind is None:
            continue
        told = described(target, name)
        for fault, bad in broken(value, kind).items():
            allowed = fault in ALLOWED and re.search(ALLOWED[fault], told)
            try:
                result = _within(3.0, lambda name=name, bad=bad: attempt(target, bound, name, bad))
            except (ValueError, TypeError) as error:
                if name not in str(error) and not allowed:
                    faults.append(f"{name} {fault}: {type(error).__name__} does not name it: {str(error)[:120]}")
            except _TooLong:
                faults.append(f"{name} {fault}: no answer within 3 CPU seconds")
            except Exception as error:
                faults.append(f"{name} {fault}: {type(error).__name__}: {str(error)[:120]}")
            else:
                if allowed:
                    continue
                if fault in ("nan", "inf", "text", "object", "complex"):
                    faults.append(f"{name} {fault}: accepted")
                elif has_nan(result) and not (fault == "huge" and name in SEEDS):  # which may be as wide as it likes
                    faults.append(f"{name} {fault}: a silent NaN")
    assert not faults, "\n".join(faults)


def settings() -> list[Any]:
    """Exported dataclasses that check themselves and can be made without arguments: what a caller sets, no results."""
    found = []
    for name in sorted({export.module for export in EXPORTS}):
        module = importlib.import_module(name)
        for target in (getattr(module, n) for n in getattr(module, "__all__", [])):
            own = inspect.isclass(target) and dataclasses.is_dataclass(target) and "__post_init__" in vars(target)
            wanted = dataclasses.fields(target) if own else ()
            if own and all({f.default, f.default_factory} != {dataclasses.MISSING} for f in wanted):
                found.append(target)
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("target", settings(), ids=lambda target: target.__qualname__)
def test_bad_settings_are_refused_by_name(target):
    made, faults = target(), []
    for setting in dataclasses.fields(target):
        value = getattr(made, setting.name)
        kind = kind_of(value)
        for fault, bad in broken(value, kind).items() if kind and setting.init else ():
            try:
                target(**{setting.name: bad})
            except (ValueError, TypeError) as error:
                if setting.name not in str(error):
                    faults.append(f"{setting.name} {fault}: {type(error).__name__} does not name it: {str(error)[:120]}")
            except Exception as error:
                faults.append(f"{setting.name} {fault}: {type(error).__name__}: {str(error)[:120]}")
            else:
                if fault not in ("negative", "empty", "inf", "huge"):  # infinity: no limit
                    faults.append(f"{setting.name} {fault}: accepted")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("export", [e for e in EXPORTS if ".study" not in e.module], ids=str)
def test_a_wrong_length_is_no_internal_error(export, monkeypatch):
    """One entry less: an answer without NaN, or an error of the door; a function of the example's own may fail as it likes."""
    target = export.target
    bound = example_call(export, monkeypatch)
    assert bound is not None
    if any(inspect.isfunction(value) for value in bound.arguments.values()):
        return
    faults = []
    for name, value in list(bound.arguments.items()):
        if kind_of(value) not in ("array", "tensor") or np.ndim(value) == 0 or len(value) < 2:
            continue
        shorter = value[:-1].detach().clone() if kind_of(value) == "tensor" else value[:-1]
        try:
            result = _within(3.0, lambda name=name, shorter=shorter: attempt(target, bound, name, shorter))
        except (ValueError, TypeError):
            continue
        except _TooLong:
            faults.append(f"{name}: no answer within 3 CPU seconds")
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__}: {str(error)[:120]}")
        else:
            if has_nan(getattr(result, "x", result)):  # a history may have gaps
                faults.append(f"{name}: a silent NaN")
    assert not faults, "\n".join(faults)
