"""Optimization, Executed: the implementations behind an executable companion to 28 papers on optimization and learning.

One package per part of the book, one module per paper (``lib.<part>.<slug>``), and a few shared rooms: `lib.experiment`,
`lib.claims`, `lib.record`, `lib.data`, `lib.figures`. Importing `lib` itself is light: torch and other heavy packages load
with the module that needs them.
"""

__version__ = "0.1.0"
