"""Readers of verified bytes: idx files (MNIST and its kin), pickles of numpy arrays, KEEL tables, zip archives."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

MISSING = ("", "?", "<null>")


def members(archive: bytes, *names: str) -> list[bytes]:
    """Files of a zip archive (a wheel is one), by their names in it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [opened.read(name) for name in names]


def read_idx(data: bytes) -> npt.NDArray[np.uint8]:
    """Array in an idx file of unsigned bytes, gzipped or not; a writable copy with the shape that the header states.

    Raises
    ------
    ValueError
        The header is not that of an idx file of unsigned bytes, or the length does not fit its shape.

    Examples
    --------
    >>> from lib.data.formats import read_idx
    >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 7]))
    array([5, 7], dtype=uint8)
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise ValueError(f"broken gzip data: {error}") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"not an idx file of unsigned bytes: it starts with {data[:4].hex()}, expected 000008 and the rank")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"idx header cut off: rank {data[3]} needs {start} bytes, given {len(data)}")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ValueError(f"idx header states shape {shape}, but {len(data) - start} bytes follow")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()


def write_idx(array: npt.NDArray[np.uint8]) -> bytes:
    """Idx file (not gzipped) of an array of unsigned bytes: the inverse of `read_idx`."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8, casting="safe").tobytes()


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what rebuilding a numpy array needs and nothing else (array pickles name it by old and new paths)."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # the same function, whatever numpy calls its module today
        raise pickle.UnpicklingError(f"{module}.{name} is not admitted: only numpy arrays are")


def unpickle_arrays(data: bytes) -> Any:
    """Unpickle containers of numpy arrays, gzipped or not; ``pickle.UnpicklingError`` for anything else in them.

    Call it only with bytes whose SHA-256 was verified; that nothing but arrays is admitted is the second lock.
    Pickles of Python 2 are read as well.
    """
    stream: Any = io.BytesIO(data)
    if data[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=stream)
    return _ArrayUnpickler(stream, encoding="bytes").load()


def read_keel(text: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Features and labels of a KEEL table: comma separated, no header, the last column ``positive`` or ``negative``.

    A column of numbers stays one column, its missing values (``<null>``, ``?``) become NaN. Any other column is
    replaced, where it stands, by one 0/1 column per value, in the sorted (code point) order of the values.

    Parameters
    ----------
    text : the table, n rows.

    Returns
    -------
    X : float64, shape (n, d)
    y : int64, shape (n,), 1 = the rarer of the two labels (``positive`` when equal)

    Raises
    ------
    ValueError
        The table is empty or ragged, or the labels are not the two.

    Examples
    --------
    >>> from lib.data.formats import read_keel
    >>> X, y = read_keel("M, 1.5, negative\\nF, 2.5, positive\\nF, 3.5, negative")
    >>> X.tolist(), y.tolist()
    ([[0.0, 1.0, 1.5], [1.0, 0.0, 2.5], [1.0, 0.0, 3.5]], [0, 1, 0])
    """
    table = _keel_table(text)
    labels = sorted(set(table[:, -1].tolist()))
    if labels != ["negative", "positive"]:
        raise ValueError(f"the last column must hold 'positive' and 'negative', given {labels[:5]}")
    positive = table[:, -1] == "positive"
    rarer = positive if 2 * positive.sum() <= len(positive) else ~positive
    return _features(table), rarer.astype(np.int64)


def read_keel_classes(text: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Features and classes of a KEEL table whose last column may hold any labels; the rest as in `read_keel`.

    Parameters
    ----------
    text : the table, n rows.

    Returns
    -------
    X : float64, shape (n, d)
    y : int64, shape (n,), 0..C-1 in the sorted order of the labels: by value where all are numbers, else by code point

    Raises
    ------
    ValueError
        The table is empty or ragged, or has fewer than two labels.

    Examples
    --------
    >>> from lib.data.formats import read_keel_classes
    >>> read_keel_classes("1.5, 10\\n2.5, 9\\n3.5, 10")[1].tolist()
    [1, 0, 1]
    """
    table = _keel_table(text)
    labels, y = np.unique(table[:, -1], return_inverse=True)
    if len(labels) < 2:
        raise ValueError(f"the last column must hold at least two labels, given {labels.tolist()}")
    try:
        values = labels.astype(np.float64)
    except ValueError:
        return _features(table), y.astype(np.int64)
    return _features(table), values.argsort().argsort()[y].astype(np.int64)


def read_libsvm(data: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Dense features and labels of a table in LIBSVM's text format.

    Raises
    ------
    ValueError
        The text is not in this format.

    Examples
    --------
    >>> from lib.data.formats import read_libsvm
    >>> X, y = read_libsvm(b"1 1:0.5 3:2\\n2 2:1 \\n")
    >>> X.tolist(), y.tolist()
    ([[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]], [1.0, 2.0])
    """
    from sklearn.datasets import load_svmlight_file

    X, y = load_svmlight_file(io.BytesIO(data))
    return X.toarray(), y


def _keel_table(text: str) -> npt.NDArray[np.str_]:
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    widths = sorted({len(row) for row in rows})
    if len(widths) != 1 or widths[0] < 2:
        raise ValueError(f"a KEEL table needs rows of one length, at least 2; given {len(rows)} rows of lengths {widths}")
    return np.array(rows)


def _features(table: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    return np.hstack([_encode(column) for column in table[:, :-1].T])


def _encode(column: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    try:
        return np.where(np.isin(column, MISSING), "nan", column).astype(np.float64)[:, None]
    except ValueError:
        return (column[:, None] == np.unique(column)).astype(np.float64)
