"""The book as one PDF and as an EPUB, offline, from the stored outputs.

    python -m tools.editions pdf     _build/optimization-executed.pdf, through a single page and headless Chromium
    python -m tools.editions epub    _build/optimization-executed.epub

Both leave out the API pages, which are for looking up, and folded cells, which paper cannot open; a slider shows one frame.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import lib
from tools.notebooks import ROOT

NAME = "optimization-executed"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def config(kind: str) -> dict[str, Any]:
    """`_config.yml` for an edition: without launch buttons, whose handler fails in an EPUB, and with its own names."""
    made = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    made["execute"]["execute_notebooks"] = "off"
    made.pop("launch_buttons", None)
    made["html"] |= {"use_repository_button": False, "use_issues_button": False}
    extra = {"project": made["title"], "version": lib.__version__, "release": lib.__version__}
    if kind == "epub":
        extra |= {"epub_basename": NAME, "epub_show_urls": "no", "epub_title": made["title"], "html_math_renderer": "mathjax"}
        extra |= {"epub_exclude_files": ["search.html"], "epub_css_files": ["book.css"], "html_copy_source": False}
    made["sphinx"]["config"] |= extra
    made["sphinx"]["config"]["suppress_warnings"] += ["myst.xref_missing", "epub.unknown_project_files"]
    return made


def contents(pages: Sequence[str] = ()) -> dict[str, Any]:
    """`_toc.yml` without the API; or only these pages."""
    made = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    if pages:
        return {"format": made["format"], "root": pages[0], "chapters": [{"file": page} for page in pages[1:]]}
    made = copy.deepcopy(made)
    for part in made["parts"]:
        part["chapters"] = [entry for entry in part["chapters"] if entry["file"] != "book/api"]
    return made


def build(kind: str, folder: Path, pages: Sequence[str] = ()) -> Path:
    """Make an edition in a folder; the path of the PDF or EPUB.

    Raises
    ------
    RuntimeError
        If a step fails, with the end of what it said; or if a PDF is wanted and there is no Chromium.
    """
    if kind not in ("pdf", "epub"):
        raise ValueError(f"kind must be 'pdf' or 'epub', got {kind!r}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in {"config.yml": config(kind), "toc.yml": contents(pages)}.items():
        (folder / name).write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    builder = ["--builder", "singlehtml"] if kind == "pdf" else ["--builder", "custom", "--custom-builder", "epub"]
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(ROOT), "--path-output", str(folder)]
    options = ["--config", str(folder / "config.yml"), "--toc", str(folder / "toc.yml"), "--keep-going", "--quiet"]
    _run([*command, *options, *builder])
    if kind == "epub":
        return folder / "_build" / "epub" / f"{NAME}.epub"
    page = next((folder / "_build" / "singlehtml").rglob(f"{contents(pages)['root'].rpartition('/')[2]}.html"))
    return print_page(page, folder / f"{NAME}.pdf")


def print_page(page: Path, target: Path) -> Path:
    """A page as Chromium prints it, after its mathematics is typeset."""
    browser = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if browser is None:
        raise RuntimeError("a PDF needs Chromium (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as profile:
        quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
        quiet += ["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"]
        quiet += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--virtual-time-budget=120000"]
        _run([browser, *quiet, "--no-pdf-header-footer", f"--print-to-pdf={target}", page.resolve().as_uri()])
    if not target.is_file():
        raise RuntimeError(f"{browser} printed nothing")
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.editions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["pdf", "epub"])
    options = parser.parse_args(argv)
    made = build(options.kind, ROOT / "_build" / options.kind)
    final = ROOT / "_build" / made.name
    shutil.copy(made, final)
    print(f"{final} ({final.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
