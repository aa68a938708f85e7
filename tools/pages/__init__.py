"""Makes the pages that follow from the chapters' own data: front page, gallery, data sets, costs, API; copies MathJax in.

    python -m tools.pages

Nothing here is edited by hand, nothing is committed; `make book` calls it before Sphinx reads the pages.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.notebooks import ROOT
from tools.pages import api, costs, datasets, front

BOOK = ROOT / "book"
GENERATED = BOOK / "_generated"


def copy_mathjax() -> None:
    """MathJax out of the PyPI package that carries it: the one script and the fonts that pages load."""
    import mathjax

    source = Path(mathjax.__path__[0]) / "static" / "mathjax" / "es5"
    target = ROOT / "_static" / "mathjax" / "es5"
    if (target / "tex-chtml.js").is_file():
        return
    fonts = Path("output/chtml/fonts/woff-v2")
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)
    shutil.copy(source / "tex-chtml.js", target / "tex-chtml.js")


def write(path: Path, text: str) -> None:
    """Write a page, unless it says the same already: an untouched page is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Write every generated page."""
    copy_mathjax()
    pictures = front.pictures(GENERATED)
    write(GENERATED / "front.md", front.front(pictures))
    write(BOOK / "gallery.md", front.gallery(pictures))
    write(BOOK / "data.md", datasets.page())
    write(BOOK / "costs.md", costs.page(GENERATED))
    pages = api.pages()
    for old in set((BOOK / "api").rglob("*.md")) - {BOOK / name for name in pages}:
        old.unlink()
    for name, text in pages.items():
        write(BOOK / name, text)
