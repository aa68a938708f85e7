"""The API: a page for each paper's method, one for its study, and one for each shared room, from the docstrings."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

import lib
from lib import papers

OPENING = """\
# The package `lib`

Everything that the chapters import, from its docstrings: a page for each paper's method, one for its *study* (what only the
chapter's experiments use), and one for each shared room.
"""


def _inner(name: str) -> list[str]:
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return sorted(m.name for m in pkgutil.iter_modules(places) if m.name[0] != "_") if places else []


def _first_line(name: str) -> str:
    doc = importlib.import_module(name).__doc__ or ""
    return " ".join(doc.strip().split("\n\n")[0].split())


def _automodule(name: str, members: bool) -> list[str]:
    # scikit-learn adds set_score_request and the like to every estimator.
    options = (
        ["   :members:", "   :exclude-members: set_score_request, set_fit_request, set_predict_request"] if members else []
    )
    return ["", "```{eval-rst}", f".. automodule:: {name}", *options, "```"]


def _modules(name: str, leave_out: tuple[str, ...] = ()) -> list[str]:
    """A module's own text, then its modules as sections; what a package re-exports stands where it is defined.

    Titles are short, so that they fit the contents; whole names stand with each object.
    """
    inner = [module for module in _inner(name) if module not in leave_out]
    lines = _automodule(name, members=not inner)
    for module in inner:
        full = f"{name}.{module}"
        lines += ["", f"## `{module}`"]
        lines += _automodule(full, members=not _inner(full))
        for deeper in _inner(full):
            lines += ["", f"### `{module}.{deeper}`", *_automodule(f"{full}.{deeper}", members=True)]
    return lines


def pages() -> dict[str, str]:
    """Path under ``book/`` -> text, of every page of the API."""
    made: dict[str, str] = {}
    index = [OPENING]
    for part, title in papers.PARTS.items():
        slugs = [slug for slug, where in papers.slugs().items() if where == part]
        index += ["", f"## {title}", ""] if slugs else []
        for slug in slugs:
            name = f"lib.{part}.{slug}"
            says = f"Chapter: [{papers.heading(slug)}](../../{part}/{slug}.ipynb)."
            has_study = "study" in _inner(name)
            more = f" What only its experiments use: [{name}.study]({slug}_study.md)." if has_study else ""
            method = [f"# `{slug}`", "", f"`{name}`. {says}{more}", *_modules(name, ("study",))]
            made[f"api/papers/{slug}.md"] = "\n".join(method) + "\n"
            index.append(f"- [`{name}`](api/papers/{slug}.md): {papers.heading(slug)}")
            if has_study:
                back = f"What only the experiments of [{papers.heading(slug)}](../../{part}/{slug}.ipynb) use."
                back += f" The method: [{name}]({slug}.md)."
                made[f"api/papers/{slug}_study.md"] = "\n".join([f"# `{slug}.study`", "", back, *_modules(f"{name}.study")])
                index.append(f"  - [study](api/papers/{slug}_study.md)")
    index += ["", "## Shared rooms", ""]
    rooms = [m.name for m in pkgutil.iter_modules(lib.__path__) if m.name not in papers.PARTS and m.name[0] != "_"]
    for room in sorted(rooms):
        made[f"api/rooms/{room}.md"] = "\n".join([f"# `{room}`", "", f"`lib.{room}`", *_modules(f"lib.{room}")]) + "\n"
        index.append(f"- [`lib.{room}`](api/rooms/{room}.md): {_first_line(f'lib.{room}')}")
    made["api.md"] = "\n".join(index) + "\n"
    return made
