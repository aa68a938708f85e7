"""The next paper's files, ready to be filled in: module, sheet, chapter, test, and its line in `_toc.yml`.

    python -m tools.scaffold SLUG PART

What is still to be written is marked ``TODO``; until nothing is, `tests/book/test_notebooks.py` says so.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from pathlib import Path

from lib import papers
from tools.notebooks import ROOT, bootstrap, colab_link, dumps, normalize, write

#: The headings of every chapter, in order.
HEADINGS = [
    "At a glance",
    "One instance",
    "The method",
    "Derivation",
    "Experiments",
    "Where it fails",
    "What was reproduced",
    "Try it",
    "Appendix",
    "References",
]

_METHOD = '''"""TODO: the paper's title (authors, year, venue, arXiv number).

TODO: what is implemented and what is not; symbol -> name -> shape -> equation number.
"""

__all__: list[str] = []
'''

_STUDY = '''"""TODO: what only the chapter's experiments use: protocols, rivals, instances, training scripts."""

__all__: list[str] = []
'''

_TEST = '''"""TODO: the checks of {slug}, the exact ones first."""

from lib.{part} import {slug}


def test_module_says_what_it_implements():
    assert "TODO" not in {slug}.__doc__
'''

_SHEET = """\
title: "TODO"
authors: ["TODO"]
year: 2024
venue: "TODO"
arxiv: "0000.00000"
code: ""
cite: TODO
budget_s: 60
rtol: 1.0e-6
needs: []
scale:
  n_seeds: {what: "repetitions", paper: 10, smoke: 2, book: 3, full: 10}
claims:
  - id: C1
    kind: claim
    statement: "TODO: the claim in plain words"
    where: "TODO"
    source: paper
    paper: "TODO"
    values:
      value: {what: "TODO: what is measured", unit: "", sample: "repetition"}
    reproduced: "value >= 0.95"
    partly: "value >= 0.90"
    partly_means: "TODO: the weaker form in words"
    fails_if: "TODO: the result that would refute it"
"""


#: A new chapter in jupytext's percent format.
_CHAPTER = """\
# %% [markdown]
# # TODO: a title
#
# **The question.** TODO
#
# **The idea.** TODO
#
# TODO: the citation, links, cost. [Open in Colab]({colab}).

# %% tags=["bootstrap", "hide-cell"]
BOOTSTRAP

# %% tags=["parameters"]
preset = "book"  # smoke, book or full: how large the experiments are
seed = 0  # of every generator

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from lib import claims, experiment, figures, scoreboard
from lib.{part} import {slug}
from lib.{part}.{slug} import study

config = experiment.start("{slug}", preset, seed)
ledger = claims.Ledger(config)
figures.style(draft=preset == "smoke")

# %% tags=["remove-input"]
scoreboard.say("{slug}", "**The answer.** TODO: {{C1.verdict}} at {{C1.value}}.")

# %% tags=["hide-input", "key-figure"] mystnb={{"image": {{"alt": "TODO: axes and what is seen"}}}}
fig, ax = plt.subplots()
ax.plot([0, 1], [0, 1])
ax.set(xlabel="TODO", ylabel="TODO")
figures.show("TODO: what to see.")

# %% [markdown]
# ## At a glance

# %% tags=["remove-input"]
ledger.glance("C1")

# %% [markdown]
# ## One instance
#
# TODO

# %% [markdown]
# ## The method
#
# TODO

# %%
print({slug}.__doc__, study.__doc__)  # TODO: inspect.getsource of the core lines

# %% [markdown]
# ## Derivation
#
# TODO

# %% [markdown]
# ## Experiments
#
# TODO

# %%
ledger.measure("C1", value=config.rng("noise").random(config.n_seeds))  # TODO

# %% [markdown]
# ## Where it fails
#
# TODO

# %% [markdown]
# ## What was reproduced

# %% tags=["remove-input"]
ledger.report()

# %% tags=["hide-cell"]
ledger.rules()

# %% tags=["remove-input"]
config.scale_table()

# %% [markdown]
# ## Try it
#
# ```bash
# papermill book/{part}/{slug}.ipynb out.ipynb -p seed 1
# ```
#
# TODO: three exercises with solutions.

# %% [markdown]
# ## Appendix
#
# TODO

# %% [markdown]
# ## References
#
# TODO
"""


def chapter(slug: str, part: str) -> str:
    """A new chapter, as it is stored."""
    import jupytext

    colab = colab_link(ROOT / "book" / part / f"{slug}.ipynb")
    notebook = jupytext.reads(_CHAPTER.format(slug=slug, part=part, colab=colab), fmt="py:percent")
    for cell in notebook.cells:
        if cell.source == "BOOTSTRAP":
            cell.source = bootstrap(slug)
    return dumps(normalize(notebook, slug))


def add_to_toc(toc: str, slug: str, part: str) -> str:
    """`_toc.yml` with the chapter at the end of its part, which is opened where it is the part's first."""
    entry = f"      - file: book/{part}/{slug}\n"
    caption = f"  - caption: {papers.PARTS[part]}\n"
    if caption not in toc:
        later = list(papers.PARTS)[list(papers.PARTS).index(part) + 1 :]
        after = [f"  - caption: {papers.PARTS[name]}\n" for name in later] + ["  - caption: Reference\n"]
        place = min(toc.index(line) for line in after if line in toc)
        return toc[:place] + caption + "    chapters:\n" + entry + toc[place:]
    start = toc.index(caption) + len(caption)
    following = re.search(r"^  - caption", toc[start:], flags=re.M)
    place = start + following.start() if following else len(toc)
    return toc[:place] + entry + toc[place:]


def scaffold(slug: str, part: str, root: Path = ROOT) -> list[Path]:
    """Write the files of a new paper and return their paths.

    Raises
    ------
    ValueError
        For a slug that is no Python name, an unknown part, or a paper that exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise ValueError(f"a slug is lower-case letters, digits and underscores, got {slug!r}")
    if keyword.iskeyword(slug) or keyword.issoftkeyword(slug):
        raise ValueError(f"a slug is a module's name, got Python's keyword {slug!r}")
    if part not in papers.PARTS:
        raise ValueError(f"unknown part {part!r}; allowed: {', '.join(papers.PARTS)}")
    files = {
        root / "lib" / part / slug / "__init__.py": _METHOD,
        root / "lib" / part / slug / "study" / "__init__.py": _STUDY,
        root / "book" / part / f"{slug}.yml": _SHEET,
        root / "book" / part / f"{slug}.ipynb": chapter(slug, part),
        root / "tests" / part / f"test_{slug}.py": _TEST.format(slug=slug, part=part),
    }
    if taken := [path.relative_to(root).as_posix() for path in files if path.exists()]:
        raise ValueError(f"{slug} exists: {', '.join(taken)}")
    for path, text in files.items():
        write(path, text)
    package = root / "lib" / part / "__init__.py"
    if not package.exists():
        write(package, f'"""{papers.PARTS[part]}."""\n')
    write(root / "_toc.yml", add_to_toc((root / "_toc.yml").read_text(encoding="utf-8"), slug, part))
    return [*files, root / "_toc.yml"]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.scaffold", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slug")
    parser.add_argument("part", help=", ".join(papers.PARTS))
    options = parser.parse_args(argv)
    try:
        paths = scaffold(options.slug, options.part)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(str(path.relative_to(ROOT)) for path in paths))
    print("Fill in what says TODO; CONTRIBUTING.md says in which order.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
