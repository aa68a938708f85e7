"""The page of the data sets."""

from __future__ import annotations

from lib import data
from lib.claims import escaped, row

PAGE = """\
# Data

Every data set sits behind one function of `lib.data`. It is looked for in the cache (`LIB_DATA_DIR`, by default your system's
cache folder), then at its sources in order, and verified by its SHA-256 before it is read. A default run of any chapter needs
nothing beyond the Python package index.

{sets}

## Hashes

:::{{dropdown}} SHA-256 of every file
{hashes}
:::
"""


def page() -> str:
    """Every data set with its source and license; the hashes folded."""
    sets = [row("data set", "what it is", "source", "license"), row(*["---"] * 4)]
    hashes = [row("file", "SHA-256"), row("---", "---")]
    for entry in data.catalog():
        source = f"{escaped(entry.source)} ([origin]({entry.url}))"
        sets.append(row(f"`{entry.name}`", escaped(f"{entry.what}; {entry.shape}"), source, escaped(entry.license)))
        hashes += [row(escaped(f"{entry.name}: {name}"), f"`{value}`") for name, value in entry.sha256.items()]
    return PAGE.format(sets="\n".join(sets), hashes="\n".join(hashes))
