"""Data sets behind one function each, as numpy arrays: cached, verified by SHA-256 before they are parsed.

The functions look into the cache (``LIB_DATA_DIR``, default the platform's user cache), then at each set's sources in
order, and raise `DataUnavailableError`, which says what was tried and how to provide the file, when none delivers.
`catalog` is the table of all sets; `used` says what this process has loaded.

To add a set: one row in `lib.data.table` (files with SHA-256 and places), and in `classes`, `images` or `observations` one
function that passes its files to `obtain`, the verified bytes to a reader of `lib.data.formats`, and the arrays to ``loaded``.
"""

from __future__ import annotations

from .classes import breast_cancer, digits, keel, keel_multiclass, keel_multiclass_names, keel_names, mushrooms, wine
from .fetch import DataUnavailableError, cache_dir
from .images import fashion_mnist, mnist
from .observations import bible, jester, open_bandit, sachs, world_cities
from .seen import used
from .table import DataSet, catalog

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
