"""Stores chapters: execute, normalize, write. The only way in which a stored output changes.

python -m tools.notebooks refresh SLUG...   execute at the book preset and store the normalized outputs
python -m tools.notebooks execute SLUG...   the same into _build/reproduced, leaving the stored chapters alone
python -m tools.notebooks normalize         normalize what is stored (after editing by hand)
python -m tools.notebooks stamp             write the repository address of _config.yml where it is needed
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from lib import execute, papers, record
from tools import scoreboard

ROOT = Path(__file__).resolve().parent.parent
SCOREBOARD = ROOT / "book" / "scoreboard.ipynb"
README_FIGURE = ROOT / "book" / "figures" / "readme.png"
#: Whose key figure the README shows.
README_CHAPTER = "anyloss"

_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
BOOTSTRAP = """\
# Installs what this chapter needs where it is missing (in Colab, say); does nothing where it is installed.
import importlib.metadata as metadata
import sys

try:
    metadata.version("optimization-executed")
except metadata.PackageNotFoundError:
    if "{url}".endswith("OWNER/REPO"):
        raise RuntimeError(
            "this copy of the book names no repository of its own, so nothing is installed"
        ) from None
    modules = metadata.packages_distributions()
    loaded = {{
        name: metadata.version(name)
        for m in modules
        if m in sys.modules
        for name in modules[m]
    }}
    %pip install -q "optimization-executed[{slug}] @ git+{url}@{ref}"
    if changed := [
        name for name, version in loaded.items() if metadata.version(name) != version
    ]:
        print(
            "Restart the runtime and run all cells: packages that were loaded have changed:",
            *changed,
        )
    import lib

    print("lib", lib.__version__, "from", lib.__file__)"""


def chapters() -> list[Path]:
    """Every chapter notebook, in the order of the book."""
    return [papers.chapter(slug) for slug in papers.slugs()]


def repository() -> tuple[str, str]:
    """Address and branch or tag of the repository, as `_config.yml` gives them."""
    entry = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    return entry["url"], entry["branch"]


def bootstrap(slug: str) -> str:
    """The first cell of a chapter."""
    url, ref = repository()
    # Metadata spell extras with hyphens, and an older pip does not see that an underscore means the same.
    return BOOTSTRAP.format(url=url, ref=ref, slug=slug.replace("_", "-"))


def colab_link(chapter: Path) -> str:
    """Where Colab opens this chapter."""
    url, ref = repository()
    path = url.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{path}/blob/{ref}/{chapter.relative_to(ROOT).as_posix()}"


def dumps(notebook: dict[str, Any]) -> str:
    """A notebook as it is stored."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def lines(text: str | list[str]) -> list[str]:
    """Text as the list of lines that the format stores."""
    return ("".join(text)).splitlines(keepends=True)


def normalize(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """What is stored of a notebook: nothing that a rerun on this machine would change.

    Dropped: times, papermill's and editors' metadata, injected parameters, and the machine-dependent part of what the
    ledger emits. Kept: sources, tags, alt texts, execution counts, outputs, and the hashes of the pictures that `refresh`
    wrote (validation does not compare pictures, so that these notice a swapped or dropped one). Cell ids follow from position.
    """
    kept = [c for c in notebook["cells"] if "injected-parameters" not in c["metadata"].get("tags", [])]
    return {
        "cells": [_normal_cell(cell, f"{name.replace('_', '-')}-{index:02d}") for index, cell in enumerate(kept)],
        "metadata": _METADATA
        | {key: notebook["metadata"][key] for key in ("pictures",) if key in notebook.get("metadata", {})},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _normal_cell(cell: dict[str, Any], cell_id: str) -> dict[str, Any]:
    metadata = {key: cell["metadata"][key] for key in ("tags", "mystnb") if cell["metadata"].get(key)}
    source = "".join(cell["source"]).rstrip("\n")
    normal = {"cell_type": cell["cell_type"], "id": cell_id, "metadata": metadata, "source": lines(source)}
    if cell["cell_type"] == "code":
        normal |= {"execution_count": cell.get("execution_count"), "outputs": _normal_outputs(cell.get("outputs", []))}
    return normal


def _normal_outputs(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    normal: list[dict[str, Any]] = []
    for output in outputs:
        output = dict(output)
        if output["output_type"] == "stream":
            output["text"] = "".join(output["text"])
            if normal and normal[-1].get("name") == output["name"]:
                output["text"] = normal.pop()["text"] + output["text"]
        if "metadata" in output:
            output["metadata"] = {key: value for key, value in output["metadata"].items() if key != "lib"}
        if "data" in output:
            output["data"] = {
                mime: "".join(entry) if isinstance(entry, list) and mime != "application/json" else entry
                for mime, entry in output["data"].items()
            }
        normal.append(output)
    return [_split(output) for output in normal]


def _split(output: dict[str, Any]) -> dict[str, Any]:
    """Texts as lists of lines, as Jupyter writes them; pictures stay one string."""
    if "text" in output:
        output["text"] = lines(output["text"])
    if "data" in output:
        output["data"] = {m: lines(v) if m.startswith("text/") else v for m, v in output["data"].items()}
    return output


def pictures(notebook: dict[str, Any]) -> Iterator[bytes]:
    """Every stored picture, those of sliders too, in order."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            bundle = output.get("data", {})
            for mime in sorted(bundle):
                if mime.startswith("image/"):
                    yield "".join(bundle[mime]).encode()
                elif mime == "text/html":
                    yield from (found.encode() for found in re.findall(r"data:image/[^\"']+", "".join(bundle[mime])))


def picture_hashes(notebook: dict[str, Any]) -> list[str]:
    """What `refresh` stores of the pictures."""
    return [hashlib.sha256(picture).hexdigest()[:16] for picture in pictures(notebook)]


def complaints(notebook: dict[str, Any]) -> list[str]:
    """What must not be stored: errors, stderr, cells that did not run."""
    found = []
    for index, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error" or output.get("name") == "stderr":
                text = "".join(output.get("text", [])) or output.get("evalue", "")
                found.append(f"cell {index}: {output.get('name', 'error')}: {text.strip()[-300:]}")
    return found


def write(path: Path, text: str) -> None:
    """Write beside, then rename: a killed refresh leaves the old chapter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def refresh(path: Path, store: Path, parameters: dict[str, Any] | None = None) -> str:
    """Execute a notebook and store it normalized; returns a line that says what it cost."""
    limit_s = record.LIMITS_S[(parameters or {}).get("preset", "book")]  # against hangs only
    with tempfile.TemporaryDirectory(prefix="refresh-") as folder:
        notebook = execute.run_chapter(path, Path(folder) / path.name, parameters or {}, limit_s)
    if found := complaints(notebook):
        raise execute.ChapterFailed(f"{path.name} not stored:\n" + "\n".join(found))
    notebook["metadata"]["pictures"] = picture_hashes(notebook)
    write(store, dumps(normalize(notebook, path.stem)))
    private = (execute.emitted(notebook) or {}).get("private", {})
    return f"{path.stem}: {private.get('cpu_seconds', '–')} CPU s, {private.get('peak_mb', '–')} MB"


def make_scoreboard() -> None:
    """Write the scoreboard's cells for the chapters that stand, without outputs."""
    write(SCOREBOARD, dumps(normalize({"cells": scoreboard.cells()}, SCOREBOARD.stem)))


def key_figure(path: Path) -> tuple[bytes, str, str] | None:
    """The stored picture of the cell tagged ``key-figure`` (the first, if several), its caption and its alt text."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if "key-figure" in cell["metadata"].get("tags", []):
            for output in cell["outputs"]:
                if picture := output.get("data", {}).get("image/png"):
                    alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
                    return base64.b64decode("".join(picture)), caption(cell), alt
    return None


def caption(cell: dict[str, Any]) -> str:
    """The text that `lib.figures.show` or `frames` wrote under a cell's (last) figure, without its number."""
    texts = ["".join(output.get("data", {}).get("text/markdown", "")) for output in cell["outputs"]]
    found = [text for text in texts if re.match(r"\*\*Figure \d+\.\*\* ", text)]
    return found[-1].partition(".** ")[2] if found else ""


def listing() -> str:
    """The chapters as the README's table."""
    rows = ["| chapter | paper | package |", "|---|---|---|"]
    for slug, part in papers.slugs().items():
        link = f"[{papers.heading(slug)}](book/{part}/{slug}.ipynb)"
        rows.append(f"| {link} | {papers.sheet(slug).title} | `lib.{part}.{slug}` |")
    return "\n".join(rows)


def stamp() -> None:
    """Write the repository's address into every chapter, the README, pyproject.toml and CITATION.cff, and the README's table."""
    url, _ = repository()
    for path in chapters():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if "bootstrap" in cell["metadata"].get("tags", []):
                cell["source"] = lines(bootstrap(path.stem))
            elif cell["cell_type"] == "markdown":
                text = re.sub(r"https://colab\.research\.google\.com/github/[^)\s]+", colab_link(path), "".join(cell["source"]))
                cell["source"] = lines(text)
        write(path, dumps(normalize(notebook, path.stem)))
    for name, pattern in {
        "pyproject.toml": r'(?m)^(Repository = ").*(")$',
        "CITATION.cff": r'(?m)^(repository-code: ").*(")$',
        "README.md": r"(<!-- repository -->).*?(<!-- -->)",
    }.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        write(ROOT / name, re.sub(pattern, rf"\g<1>{url}\g<2>", text))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start, _, rest = text.partition("<!-- chapters -->\n")
    write(ROOT / "README.md", f"{start}<!-- chapters -->\n{listing()}\n{rest[rest.index('<!-- -->'):]}")


def _targets(slugs: list[str]) -> list[Path]:
    """The named chapters, or all; "scoreboard" names none of them, it is always done last."""
    return [papers.chapter(slug) for slug in slugs if slug != SCOREBOARD.stem] if slugs else chapters()


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=["refresh", "execute", "normalize", "stamp", "list"])
    parser.add_argument("slugs", nargs="*", metavar="SLUG")
    parser.add_argument("--preset", default="book", choices=papers.PRESETS, help="of execute; stored chapters are 'book'")
    options = parser.parse_args(argv)
    if options.verb == "refresh" and options.preset != "book":
        parser.error("what is stored is the book preset; use execute for another")
    if options.verb == "stamp":
        stamp()
        return 0
    if options.verb == "list":
        print("\n".join(str(path.relative_to(ROOT)) for path in [*_targets(options.slugs), SCOREBOARD]))
        return 0
    if options.verb == "normalize":
        for path in [*_targets(options.slugs), SCOREBOARD]:
            write(path, dumps(normalize(json.loads(path.read_text(encoding="utf-8")), path.stem)))
        return 0
    paths = _targets(options.slugs)
    stores = [p if options.verb == "refresh" else ROOT / "_build/reproduced" / p.relative_to(ROOT) for p in paths]
    parameters = {} if options.preset == "book" else {"preset": options.preset}
    failed = 0
    with ThreadPoolExecutor(2) as pool:  # threads that wait for processes
        for path, future in [(p, pool.submit(refresh, p, s, parameters)) for p, s in zip(paths, stores, strict=True)]:
            try:
                print(future.result(), flush=True)
            except execute.ChapterFailed as error:
                failed += 1
                print(f"FAILED {path.stem}: {error}", file=sys.stderr, flush=True)
    if options.verb == "refresh" and not failed:
        make_scoreboard()
        print(refresh(SCOREBOARD, SCOREBOARD), flush=True)
        if figure := key_figure(papers.chapter(README_CHAPTER)):
            README_FIGURE.parent.mkdir(exist_ok=True)
            README_FIGURE.write_bytes(figure[0])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
