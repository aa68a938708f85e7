"""A hash of everything in this project that can change a chapter's numbers: it says whether a recorded run is of today's code.

Code counts as a syntax tree without docstrings: comments and layout do not. Of a chapter count the cells that a reader sees,
those that hand something to the ledger, and every hidden cell that defines or changes what a counted cell uses; not the values
of the ``parameters`` cell, and not what only draws, formats or solves an exercise. Of the package count the modules that these
cells import, directly or not, except the rooms that can change no number.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lib import papers

#: Rooms that cannot change a number. (`claims`, `estimates` and `rules` decide verdicts, which are decided again from the
#: stored samples whenever they are shown; a record holds the hashes of the data it saw.)
_ROOMS = "checks claims codehash data estimates execute figures papers record rules scoreboard store workers"
NUMBERLESS = {"lib", *(f"lib.{room}" for room in _ROOMS.split())}
_Import = ast.Import | ast.ImportFrom
#: A line that only IPython understands.
_MAGIC = re.compile(r"^([ \t]*)[%!]+\w.*$", re.M)


def digest(*texts: str) -> str:
    """SHA-256 of several texts, each ended."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def code_hash(slug: str) -> str:
    """Hash of the code that can change a chapter's numbers (see this module's docstring)."""
    codes, imports = _chapter(papers.chapter(slug).read_text(encoding="utf-8"))
    seen: dict[str, str] = {}
    _follow(imports, seen)
    return digest(*codes, *(seen[name] for name in sorted(seen)))


# ------------------------------------------------------------------------------------------------------- the cells


def counted(cells: list[dict[str, Any]]) -> list[ast.Module]:
    """The syntax trees of a chapter's code cells that can change a number, in their order."""
    tags = [set(cell["metadata"].get("tags", [])) for cell in cells]
    sources = ["".join(cell["source"]) for cell in cells]
    open_to_all = [
        not t & {"hide-input", "remove-input", "hide-cell"} or "ledger." in s for t, s in zip(tags, sources, strict=True)
    ]
    usable = [not t & {"parameters", "bootstrap"} for t in tags]
    trees = [ast.parse(_MAGIC.sub(r"\1pass", source)) for source in sources]
    names = [_Names(tree) for tree in trees]
    chosen = {k for k, seen in enumerate(open_to_all) if seen and usable[k]}
    waiting = list(chosen)
    while waiting:
        k = waiting.pop()
        needed = {j for name in names[k].used for j in _sources(name, names, k)}
        needed |= {j for name in names[k].later for j in range(len(cells)) if name in names[j].bound | names[j].changed}
        new = {j for j in needed - chosen if usable[j]}
        chosen |= new
        waiting += new
    return [trees[k] for k in sorted(chosen)]


def _sources(name: str, names: list[_Names], before: int) -> Iterator[int]:
    """The last cell before this one that binds a name, and those in between that change what it stands for."""
    for j in range(before - 1, -1, -1):
        if name in names[j].bound:
            yield j
            return
        if name in names[j].changed:
            yield j


class _Names(ast.NodeVisitor):
    """The names that a cell takes from others (`used` at once, `later` in functions), binds, and changes in place."""

    def __init__(self, tree: ast.AST, local: Iterable[str] = ()) -> None:
        self.used: set[str] = set()
        self.later: set[str] = set()
        self.bound: set[str] = set()
        self.changed: set[str] = set()
        self._imported: set[str] = set()
        self._local = set(local)
        self.visit(tree)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            if node.id not in self.bound | self._local:
                self.used.add(node.id)
        else:
            self.bound.add(node.id)

    def _in_order(self, *nodes: ast.AST | list[Any] | None) -> None:
        for node in nodes:
            if isinstance(node, list):
                self._in_order(*node)
            elif node is not None:
                self.visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._in_order(node.value, node.targets)
        self._change(node.targets)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._in_order(node.annotation, node.value, node.target)
        self._change([node.target])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and node.target.id not in self.bound | self._local:
            self.used.add(node.target.id)
        self._in_order(node.value, node.target)
        self._change([node.target])

    def visit_Expr(self, node: ast.Expr) -> None:  # ``x.append(1)`` changes x, ``plt.plot()`` no name of a cell
        self.visit(node.value)
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            self._change([node.value.func])

    def visit_For(self, node: ast.For) -> None:
        self._in_order(node.iter, node.target, node.body, node.orelse)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        names = {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        self.bound |= names
        self._imported |= names

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bound |= {node.name} if node.name else set()
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.generic_visit(node)
        self.bound.add(node.name)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._in_order(node.decorator_list, node.args)
        self.bound.add(node.name)
        self._function(node, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._in_order(node.args)
        self._function(node, [node.body])

    def _function(self, node: Any, body: list[Any]) -> None:
        arguments = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
        stored = {n.id for part in body for n in ast.walk(part) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        inner = _Names(ast.Module(body=body, type_ignores=[]), arguments | stored)
        self.later |= inner.used | inner.later
        self.changed |= inner.changed - arguments - stored

    def _comprehension(self, node: Any) -> None:
        outside = set(self.bound)
        self._in_order(*([g.iter, g.target, g.ifs] for g in node.generators))
        self._in_order(*(getattr(node, name, None) for name in ("elt", "key", "value")))
        self.bound = outside

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _change(self, targets: list[Any]) -> None:
        """Note the names whose parts are set or whose methods are called."""
        for target in targets:
            while isinstance(target, ast.Attribute | ast.Subscript | ast.Call):
                target = target.func if isinstance(target, ast.Call) else target.value
                if isinstance(target, ast.Name) and target.id not in self._imported | self._local:
                    self.changed.add(target.id)


# ----------------------------------------------------------------------------------------------------- the package


def _canonical(node: Any) -> str:
    """A syntax tree as text without docstrings, layout and what is empty: the same for every Python version."""
    if isinstance(node, ast.AST):
        parts = []
        for name, value in ast.iter_fields(node):
            if (
                name == "body"
                and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and ast.get_docstring(node)
            ):
                value = value[1:]
            if value not in (None, []):
                parts.append(f"{name}={_canonical(value)}")
        return f"{type(node).__name__}({', '.join(parts)})"
    return f"[{', '.join(map(_canonical, node))}]" if isinstance(node, list) else repr(node)


# A chapter asks for its hash before many of its sentences, so each text is taken apart once.
@cache
def _chapter(text: str) -> tuple[list[str], list[_Import]]:
    """Canonical code of the cells that count, and what they import."""
    trees = counted([cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"])
    return [_canonical(tree) for tree in trees], [node for tree in trees for node in _imports(tree)]


@cache
def _module(text: str) -> tuple[str, list[_Import]]:
    """Canonical code of a module, and what it imports."""
    tree = ast.parse(text)
    return _canonical(tree), _imports(tree)


def _follow(imports: Iterable[_Import], seen: dict[str, str], package: str = "") -> None:
    """Add to `seen` the code of every module of `lib` that these statements import."""
    for name in _names(imports, package):
        if name.split(".")[0] != "lib" or name in seen or name in NUMBERLESS:
            continue
        if (path := _source(name)) is None:
            continue
        seen[name], further = _module(path.read_text(encoding="utf-8"))
        _follow(further, seen, name if path.name == "__init__.py" else name.rpartition(".")[0])


def _imports(tree: ast.Module) -> list[_Import]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def _names(imports: Iterable[_Import], package: str) -> Iterator[str]:
    for node in imports:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = ".".join(package.split(".")[: -(node.level - 1) or None]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _source(name: str) -> Path | None:
    base = Path(__file__).resolve().parent.parent.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
