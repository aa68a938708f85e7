"""The input checks that public functions share: one wording for what was given and what is allowed.

Every check takes the argument's name and the value, returns the value in the form that the code behind it computes with, and
raises ``TypeError`` for something of another kind (``"0.1"``, ``None``, ``10.5`` for a count, complex numbers where their
imaginary part would be cut) and ``ValueError`` for something of the right kind that is not allowed (NaN, a negative width).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def shown(value: Any) -> str:
    """A value as an error message shows it: short, arrays by shape and type."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape} and type {value.dtype}"
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return f"{type(value).__name__} too long to show"
    return text if len(text) <= 60 else f"{text[:57]}..."


def number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    inf: bool = False,
) -> float:
    """A real number, as float: ``low <= value <= high`` and ``above < value < below``, each where given.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : number
        Python, NumPy or zero-dimensional array or tensor; booleans are refused.
    low, high, above, below : float, optional
        Bounds, included and excluded.
    inf : bool
        Whether infinity is allowed (NaN never is).

    Raises
    ------
    TypeError
        If the value is no real number.
    ValueError
        If it is NaN, infinite or out of bounds.

    Examples
    --------
    >>> from lib import checks
    >>> checks.number("step", 0.1, above=0)
    0.1
    """
    wanted = f"{name} must be {_interval('a finite number' if not inf else 'a number', low, high, above, below)}"
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{wanted}, got {shown(value)}")
    result = _float(value)
    outside = (
        math.isnan(result)
        or (not inf and math.isinf(result))
        or (low is not None and result < low)
        or (high is not None and result > high)
        or (above is not None and result <= above)
        or (below is not None and result >= below)
    )
    if outside:
        raise ValueError(f"{wanted}, got {shown(value)}")
    return result


def positive(name: str, value: Any) -> float:
    """A finite number above zero; see `number`."""
    return number(name, value, above=0)


def probability(name: str, value: Any) -> float:
    """A number between 0 and 1, both included; see `number`."""
    return number(name, value, low=0, high=1)


def integer(name: str, value: Any, *, low: int | None = None, high: int | None = None, wide: bool = False) -> int:
    """A whole number, as int, between ``low`` and ``high`` where given; ``10.0`` is one, ``10.5`` and ``True`` are not.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : number
    low, high : int, optional
        Bounds, included.
    wide : bool
        Whether more than 64 bits are allowed, as a seed may have.

    Raises
    ------
    TypeError
        If the value is no number or not whole.
    ValueError
        If it is NaN, infinite, out of bounds or too wide.

    Examples
    --------
    >>> from lib import checks
    >>> checks.integer("max_iter", 10.0, low=1)
    10
    """
    wanted = f"{name} must be {_interval('an integer', low, high)}"
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{wanted}, got {shown(value)}")
    if not isinstance(value, numbers.Integral) and not math.isfinite(_float(value)):
        raise ValueError(f"{wanted}, got {shown(value)}")
    result = int(value) if isinstance(value, numbers.Integral) else math.floor(_float(value))
    if result != value:
        raise TypeError(f"{wanted}, got {shown(value)}")
    if (low is not None and result < low) or (high is not None and result > high):
        raise ValueError(f"{wanted}, got {shown(value)}")
    if not wide and not -(2**63) <= result < 2**63:
        raise ValueError(f"{wanted} of 64 bits, got {shown(value)}")
    return result


def boolean(name: str, value: Any) -> bool:
    """``True`` or ``False`` (NumPy's too); anything else is a TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def choice(name: str, value: Any, allowed: Collection[Any]) -> Any:
    """One of the allowed values; else a ValueError that lists them."""
    if not isinstance(value, str | numbers.Number | None) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(value)}")
    return value


def function(name: str, value: Any) -> Any:
    """Return `value` if it can be called; anything else is a TypeError that names the argument."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {shown(value)}")
    return value


def array(
    name: str,
    value: Any,
    *,
    ndim: int | tuple[int, ...] | None = None,
    shape: tuple[int | None, ...] | None = None,
    nan: bool = False,
    inf: bool = False,
    empty: bool = False,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> np.ndarray:
    """Real numbers as a NumPy array of floats: float32 and float64 keep their type, other types become float64.

    Half precision becomes float32, so that sums do not overflow. The input is not copied where it has the right type.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        Array, list, tensor or data frame of real numbers.
    ndim : int or tuple of int, optional
        Allowed numbers of dimensions.
    shape : tuple, optional
        Wanted shape; ``None`` stands for any length.
    nan, inf, empty : bool
        Whether these are allowed.
    low, high, above : float, optional
        Bounds of every entry, included, included, excluded.

    Raises
    ------
    TypeError
        For text, objects, booleans-as-objects or complex numbers.
    ValueError
        For a wrong shape, no entries, or entries that are not allowed.

    Examples
    --------
    >>> from lib import checks
    >>> checks.array("x0", [1, 2], ndim=1)
    array([1., 2.])
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float().numpy() if str(value.dtype) == "torch.bfloat16" else value.numpy()
    if value is None or isinstance(value, str | bytes):
        raise TypeError(f"{name} must hold real numbers, got {shown(value)}")
    try:
        given = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be an array, got rows of different lengths: {shown(value)}") from None
    if given.dtype == object:  # a data frame with mixed integer and float columns, or nonsense
        try:
            given = given.astype(float)
        except OverflowError:
            raise ValueError(f"{name} must be finite, got an integer beyond the range of floats") from None
        except (TypeError, ValueError):
            raise TypeError(f"{name} must hold real numbers, got {shown(value)}") from None
        if any(entry is None or isinstance(entry, str) for entry in np.asarray(value, dtype=object).flat):
            raise TypeError(f"{name} must hold real numbers, got {shown(value)}")
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {shown(given)}")
    if given.dtype == np.float16:
        given = given.astype(np.float32)
    elif given.dtype not in (np.float32, np.float64):
        given = given.astype(np.float64)
    if ndim is not None and given.ndim not in np.atleast_1d(ndim):
        allowed = " or ".join(str(n) for n in np.atleast_1d(ndim))
        raise ValueError(f"{name} must have {allowed} dimension{'s' * (allowed != '1')}, got shape {given.shape}")
    if shape is not None and not _fits(given.shape, shape):
        text = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({text}), got {given.shape}")
    if not empty and given.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {given.shape}")
    if not nan and np.isnan(given).any():
        raise ValueError(f"{name} must be finite, got NaN")
    if not inf and np.isinf(given).any():
        raise ValueError(f"{name} must be finite, got infinity")
    for bad, text in ((low is not None and (given < low).any(), f"at least {low}"),
                      (high is not None and (given > high).any(), f"at most {high}"),
                      (above is not None and (given <= above).any(), f"above {above}")):  # fmt: skip
        if bad:
            raise ValueError(f"every entry of {name} must be {text}, got {given.min():.6g} to {given.max():.6g}")
    return given


def tensor(name: str, value: Any, *, ndim: int | None = None, finite: bool = True) -> torch.Tensor:
    """A floating-point torch tensor with entries, as it is (type and device kept).

    Raises
    ------
    TypeError
        If it is no tensor of real floating-point numbers.
    ValueError
        For a wrong number of dimensions, no entries, NaN or infinity.
    """
    import torch

    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, torch.Tensor) else shown(value)
        raise TypeError(f"{name} must be a tensor of floating-point numbers, got {kind}")
    if ndim is not None and value.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {tuple(value.shape)}")
    if value.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(value.shape)}")
    if finite and not torch.isfinite(value.detach()).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return value


def generator(name: str, value: Any) -> np.random.Generator:
    """A NumPy generator from a seed: ``None`` (fresh), a non-negative integer, a `SeedSequence` or a Generator (used as it is).

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        For a negative integer.
    """
    if isinstance(value, np.random.RandomState):
        return np.random.default_rng(value.randint(2**31, size=4))
    if value is None or isinstance(value, np.random.Generator | np.random.SeedSequence):
        return np.random.default_rng(value)
    return np.random.default_rng(integer(name, value, low=0, wide=True))


def _float(value: Any) -> float:
    """The nearest float; infinity for what is beyond their range, where Python raises an OverflowError that names nothing."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _fits(given: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(given) == len(wanted) and all(w is None or g == w for g, w in zip(given, wanted, strict=True))


def _interval(kind: str, low: float | None, high: float | None, above: float | None = None, below: float | None = None) -> str:
    words = [(low, "at least"), (above, "above"), (high, "at most"), (below, "below")]
    bounds = [f"{word} {bound:g}" for bound, word in words if bound is not None]
    return " ".join([kind, " and ".join(bounds)]) if bounds else kind
