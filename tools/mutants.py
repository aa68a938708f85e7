"""Breaks a method's core lines one by one and lists the changes that its tests do not notice.

    python -m tools.mutants SLUG [--lines equation|all] [--sample N] [--seed 0] [-m "not slow"]

A change swaps + and -, * and /, < and <=, > and >=, max and min, moves a number (c to 1.1 c + 0.1, a whole one to the next), or
drops a square root, an absolute value or a minus. By default only lines that carry the number of an equation or algorithm, in
a comment at their end or on the lines just above, are broken. Each change runs the paper's own tests in a copy of the project,
two at a time; tests that hang for ten times what they take on the unbroken code have noticed. The exit status is 1 if a change
survives on a line with a number.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib import papers

#: "(3)", "eq. 3", "Eq. (3)", "equation 3", "Algorithm 1", "Alg. 1".
NUMBERED = re.compile(r"\(\d+[a-z]?\)|\b(eqs?\.|equations?|algorithm|alg\.)\s*\(?\d", re.I)
_SWAPS: dict[type, tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
}
_PAIRS = [
    ("max", "min"),
    ("maximum", "minimum"),
    ("amax", "amin"),
    ("argmax", "argmin"),
    ("fmax", "fmin"),
    ("nanmax", "nanmin"),
]
_NAMES = dict(_PAIRS) | {b: a for a, b in _PAIRS}
_DROPPED = {"sqrt", "abs", "absolute", "fabs"}
#: What a copy of the project holds.
_COPIED = ("lib", "tests", "tools", "book", "results", "_toc.yml", "_config.yml", "pyproject.toml")
#: Loaded once, before the tests of every change are run in a process forked from this one.
_HEAVY = {"numpy", "scipy", "torch", "sklearn", "pandas", "matplotlib", "hypothesis", "networkx", "pytest", "_pytest"}
#: Seconds on top of ten times the unbroken tests' time.
_GRACE_S = 10.0


@dataclass(frozen=True)
class Mutant:
    """One change: characters ``start`` to ``end`` of a file become `new`."""

    path: Path
    line: int
    start: int
    end: int
    new: str
    numbered: bool

    def apply(self, text: str) -> str:
        """The changed file."""
        return text[: self.start] + self.new + text[self.end :]

    def describe(self, text: str) -> str:
        """Where and what, in one line."""
        begin = text.rfind("\n", 0, self.start) + 1
        before = text[begin : self.end + len(text[self.end :].partition("\n")[0])]
        after = before[: self.start - begin] + self.new + before[self.end - begin :]
        return f"{self.path.as_posix()}:{self.line}: {_one_line(before)}  ->  {_one_line(after)}"


def _one_line(code: str) -> str:
    return " ".join(code.split("#")[0].split())


def mutants(path: Path, text: str) -> list[Mutant]:
    """Every change of one file, in the order of its lines; input checks, messages and annotations are left alone."""
    tree = ast.parse(text)
    offsets = _Offsets(text)
    numbered = numbered_lines(text, tree)
    found = {}
    for node in _computing(tree):
        for start, end, new in _changes(node, text, offsets):
            line = text.count("\n", 0, start) + 1
            found[start, end, new] = Mutant(path, line, start, end, new, line in numbered)
    return [found[place] for place in sorted(found)]


class _Offsets:
    """Where a syntax node's characters are; the parser counts bytes of a line."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: ast.expr) -> int:
        return self._at(node.lineno, node.col_offset)

    def end(self, node: ast.expr) -> int:
        return self._at(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree that compute: no annotations, raised errors, assertions, formatted texts, calls of `lib.checks`."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks."):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _computing(child)


def _changes(node: ast.AST, text: str, at: _Offsets) -> Iterator[tuple[int, int, str]]:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            yield from _swap(op, at.end(left), at.start(right), text)
        case ast.AugAssign(target=target, op=op, value=value):
            yield from _swap(op, at.end(target), at.start(value), text)
        case ast.Compare(left=left, ops=ops, comparators=rest):
            for sign, a, b in zip(ops, [left, *rest], rest, strict=False):
                yield from _swap(sign, at.end(a), at.start(b), text)
        case ast.UnaryOp(op=ast.USub()):
            yield at.start(node), at.start(node) + 1, ""
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            new = repr(number + 1) if isinstance(number, int) else f"{number * 1.1 + 0.1!r}"
            yield at.start(node), at.end(node), new
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name) as function, args=args):
            if name in _NAMES:
                yield at.end(function) - len(name), at.end(function), _NAMES[name]
            elif name in _DROPPED and args:
                yield at.start(node), at.end(node), f"({text[at.start(args[0]) : at.end(args[0])]})"
            elif name in _DROPPED and isinstance(function, ast.Attribute):
                yield at.end(function.value), at.end(node), ""


def _swap(op: ast.AST, start: int, end: int, text: str) -> Iterator[tuple[int, int, str]]:
    """Swap an operator that stands between two operands (with brackets and line ends, before any comment)."""
    old, new = _SWAPS.get(type(op), ("", ""))
    place = text[start:end].partition("#")[0].find(old) if old else -1
    if place >= 0:
        yield start + place, start + place + len(old), new


def numbered_lines(text: str, tree: ast.Module) -> set[int]:
    """Lines of the statements whose comment, at the end or on the lines just above, gives the number of an equation."""
    lines = text.splitlines()
    marked, waiting = set(), False
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    for number, line in enumerate(lines, start=1):
        has_number = bool(NUMBERED.search(comments.get(number, "")))
        if line.strip().startswith("#"):
            waiting |= has_number
            continue
        if has_number or (waiting and line.strip()):
            marked.add(number)
        waiting = False
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not isinstance(node, ast.ClassDef):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno or node.lineno
            span = range(node.lineno, max(last, node.lineno) + 1)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= marked & set(span)  # a default value's own line
            elif marked & set(span):
                found |= set(span)
    return found


# ------------------------------------------------------------------------------------------------------ running the tests


class Tests:
    """A paper's own tests, run in copies of the project by processes forked from this one."""

    def __init__(self, folder: Path, files: list[str], selection: list[str], jobs: int) -> None:
        self.arguments = ["-x", "-q", "-p", "no:cacheprovider", *selection, *files]
        self.copies = [folder / f"copy-{k}" for k in range(jobs)]
        for copy in self.copies:
            copy.mkdir()
            for name in _COPIED:
                source = papers.root() / name
                if source.is_dir():
                    shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
                elif source.is_file():
                    shutil.copy(source, copy / name)

    def start(self, copy: Path) -> int:
        """Start the tests in a copy; returns the process."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        status = 3
        try:
            os.setsid()
            os.chdir(copy)
            log = os.open(copy / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.dont_write_bytecode = True  # two changes within a second, of the same size, would look the same
            os.environ.update(PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1")
            sys.path[:] = [str(copy), *(p for p in sys.path if p and Path(p).resolve() != papers.root())]
            for name in [name for name in sys.modules if name.split(".")[0] in ("lib", "tests", "tools")]:
                del sys.modules[name]
            importlib.invalidate_caches()
            import pytest

            status = int(pytest.main(self.arguments))
            loaded = [name for name in sys.modules if name.split(".")[0] in _HEAVY]
            (copy / "loaded").write_text(json.dumps(loaded))
        finally:
            os._exit(status)

    def clean_time(self) -> float:
        """Seconds that the tests take on the unbroken code, with the heavy packages loaded for the runs to come.

        Raises
        ------
        ValueError
            If they fail.
        """
        for _ in range(2):  # the second time, as it will be
            begin = time.monotonic()
            _, status = os.waitpid(self.start(self.copies[0]), 0)
            if code := os.waitstatus_to_exitcode(status):
                log = (self.copies[0] / "log").read_text(errors="replace")
                raise ValueError(f"the tests fail on the unbroken code (status {code}):\n{log[-2000:]}")
            for name in json.loads((self.copies[0] / "loaded").read_text()):
                try:
                    importlib.import_module(name)
                except Exception:
                    continue
        return time.monotonic() - begin

    def survivors(self, chosen: list[Mutant], limit_s: float) -> Iterator[Mutant]:
        """The changes that the tests do not notice, as they are found."""
        waiting = list(reversed(chosen))
        running: dict[int, tuple[Mutant, Path, float]] = {}
        free = list(self.copies)
        try:
            while waiting or running:
                while waiting and free:
                    mutant, copy = waiting.pop(), free.pop()
                    text = (papers.root() / mutant.path).read_text(encoding="utf-8")
                    (copy / mutant.path).write_text(mutant.apply(text), encoding="utf-8")
                    running[self.start(copy)] = mutant, copy, time.monotonic() + limit_s
                time.sleep(0.01)
                for pid, (mutant, copy, deadline) in list(running.items()):
                    done, status = os.waitpid(pid, os.WNOHANG)
                    if not done and time.monotonic() < deadline:
                        continue
                    if not done:
                        _end(pid)
                    del running[pid]
                    shutil.copy(papers.root() / mutant.path, copy / mutant.path)
                    free.append(copy)
                    if done and os.waitstatus_to_exitcode(status) == 0:
                        yield mutant
        finally:
            for pid in running:
                _end(pid)


def _end(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # has no group of its own yet
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# --------------------------------------------------------------------------------------------------------- the command


def sources(slug: str) -> list[Path]:
    """A method's files, relative to the project: no study."""
    base = papers.root() / "lib" / papers.part_of(slug) / slug
    files = [base.with_suffix(".py")] if base.with_suffix(".py").is_file() else sorted(base.rglob("*.py"))
    return [path.relative_to(papers.root()) for path in files if "study" not in path.relative_to(base.parent).parts]


def tests_of(slug: str) -> list[str]:
    """A paper's own test files, relative to the project."""
    folder = papers.root() / "tests" / papers.part_of(slug)
    files = sorted(folder.glob(f"test_{slug}.py")) + sorted(folder.glob(f"test_{slug}_*.py"))
    return [path.relative_to(papers.root()).as_posix() for path in files]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slug")
    parser.add_argument("--lines", choices=["equation", "all"], default="equation", help="which lines are broken")
    parser.add_argument("--sample", type=int, metavar="N", help="at most so many changes, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("-m", dest="marks", default="not network", help="tests to run, as pytest's -m (default: not network)")
    parser.add_argument("-k", dest="names", default="", help="tests to run, as pytest's -k (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time (default 2)")
    options = parser.parse_args(argv)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    try:
        texts = {path: (papers.root() / path).read_text(encoding="utf-8") for path in sources(options.slug)}
        chosen = [m for path, text in texts.items() for m in mutants(path, text) if m.numbered or options.lines == "all"]
        if not chosen:
            raise ValueError(
                f"no line of {options.slug} to break; an equation's number stands in a comment, or say --lines all"
            )
        if not (files := tests_of(options.slug)):
            raise ValueError(f"{options.slug} has no tests")
        if options.sample is not None and options.sample < len(chosen):
            kept = set(random.Random(options.seed).sample(range(len(chosen)), options.sample))
            chosen = [mutant for k, mutant in enumerate(chosen) if k in kept]
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            tests = Tests(Path(folder), files, ["-m", options.marks, "-k", options.names], options.jobs)
            clean_s = tests.clean_time()
            print(f"{len(chosen)} changes; the tests take {clean_s:.1f} s", flush=True)
            survivors = []
            for mutant in tests.survivors(chosen, 10 * clean_s + _GRACE_S):
                survivors.append(mutant)
                print(f"survives: {mutant.describe(texts[mutant.path])}", flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} changes were noticed")
    return int(any(mutant.numbered for mutant in survivors))


if __name__ == "__main__":
    sys.exit(main())
