"""Everything that papers and shared rooms export, and one working call of each: taken from its docstring's example."""

from __future__ import annotations

import contextlib
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import io
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import lib
from lib import papers

#: Shared rooms whose functions a reader calls.
ROOMS = ["lib.estimates", "lib.networks", "lib.rules"]


@dataclasses.dataclass(frozen=True)
class Export:
    """A public callable and where it is exported."""

    module: str
    name: str

    @property
    def target(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)

    def __str__(self) -> str:
        return f"{self.module.removeprefix('lib.')}.{self.name}"


def exports() -> list[Export]:
    """Every export of every chapter's package and study, and of the shared problems; results and errors are no doors."""
    modules = [
        *ROOMS,
        *(m.name for m in pkgutil.iter_modules(importlib.import_module("lib.problems").__path__, "lib.problems.")),
    ]
    for slug, part in papers.slugs().items():
        modules += [m for m in (f"lib.{part}.{slug}", f"lib.{part}.{slug}.study") if importlib.util.find_spec(m)]
    found = []
    for name in modules:
        module = importlib.import_module(name)
        public = getattr(module, "__all__", None) or [
            n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", None) == name
        ]
        found += [Export(name, n) for n in public if is_door(getattr(module, n))]
    return found


def is_door(target: Any) -> bool:
    """Whether somebody calls it with arguments of their own: no constants, errors, records of results."""
    if not callable(target) or not getattr(target, "__module__", "").startswith(lib.__name__):
        return False
    if inspect.isclass(target):
        return not (issubclass(target, BaseException | tuple) or dataclasses.is_dataclass(target) or inspect.isabstract(target))
    return bool(inspect.signature(target).parameters)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def example_call(export: Export, monkeypatch: Any) -> inspect.BoundArguments | None:
    """The arguments of the first call of an export in its docstring's example; None where no example calls it."""
    target = export.target
    calls: list[tuple[tuple, dict]] = []

    def spy(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        return target(*args, **kwargs)

    monkeypatch.setattr(importlib.import_module(export.module), export.name, spy)
    space: dict[str, Any] = {}
    with _quiet():
        for example in doctest.DocTestParser().get_examples(inspect.getdoc(target) or ""):
            if doctest.SKIP in example.options:
                continue
            exec(compile(example.source, str(export), "single"), space)
            space.update({name: spy for name, value in space.items() if value is target})
            if calls:
                break
    monkeypatch.undo()
    if not calls:
        return None
    bound = inspect.signature(target).bind(*calls[0][0], **calls[0][1])
    bound.apply_defaults()
    return bound


def described(target: Callable[..., Any], parameter: str) -> str:
    """What a numpydoc docstring says of a parameter."""
    doc = inspect.getdoc(target) or ""
    lines = doc.splitlines()
    for i, line in enumerate(lines):
        names = re.match(r"(\S[\w, *]*?)\s*:", line)
        if names and parameter in re.split(r"[,\s*]+", names.group(1)):
            rest = [line]
            for following in lines[i + 1 :]:
                if following and not following.startswith(" "):
                    break
                rest.append(following)
            return "\n".join(rest)
    return ""
