"""The book as one PDF and as an EPUB, offline, from the stored outputs.

    python -m tools.editions pdf     _build/optimization-executed.pdf, through a single page and headless Chromium
    python -m tools.editions epub    _build/optimization-executed.epub

Both leave out the API pages, which are for looking up, and folded cells, which paper cannot open; a slider shows one frame.
Readers of an EPUB run no scripts, so its formulas become MathML, by the book's own MathJax in headless Chromium; where there is
no Chromium they stay TeX, and that is said.
"""

from __future__ import annotations

import argparse
import copy
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.dom import minidom

import yaml

import lib
from tools.notebooks import ROOT

NAME = "optimization-executed"
DESCRIPTION = "An executable companion to papers on optimization and learning"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
MATHJAX = ROOT / "_static" / "mathjax" / "es5" / "tex-chtml.js"


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
        address = made["repository"]["url"]
        extra |= {"epub_identifier": address, "epub_scheme": "URL", "epub_uid": "book", "epub_description": DESCRIPTION}
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
        return finish(folder / "_build" / "epub" / f"{NAME}.epub")
    return print_page(to_the_top(folder / "_build" / "singlehtml", contents(pages)["root"]), folder / f"{NAME}.pdf")


# ------------------------------------------------------------------------------------------------------------------ PDF


def to_the_top(built: Path, root: str) -> Path:
    """The single page, which Sphinx puts into a folder but links as if it stood at the top, where its links lead.

    Tables that are folded on the screen stand open in it; folded cells do not (`_static/book.css`).
    """
    target = built / f"{NAME}.html"
    text = (built / f"{root}.html").read_text(encoding="utf-8")
    target.write_text(text.replace('<details class="entries">', '<details class="entries" open>'), encoding="utf-8")
    return target


def print_page(page: Path, target: Path) -> Path:
    """A page as Chromium prints it, after its mathematics is typeset."""
    browser = _chromium()
    if browser is None:
        raise RuntimeError("a PDF needs Chromium (Debian: apt-get install chromium)")
    _browse(browser, page, "--no-pdf-header-footer", f"--print-to-pdf={target}", budget_ms=120_000)
    if not target.is_file():
        raise RuntimeError(f"{browser} printed nothing")
    return target


def _chromium() -> str | None:
    return next((found for name in CHROMIUM if (found := shutil.which(name))), None)


def _browse(browser: str, page: Path, *options: str, budget_ms: int) -> str:
    """Open a local page without a network, let its scripts run, and return what the browser wrote."""
    with tempfile.TemporaryDirectory() as profile:
        quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
        quiet += ["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"]
        quiet += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", f"--virtual-time-budget={budget_ms}"]
        return _run([browser, *quiet, *options, page.resolve().as_uri()])


# ----------------------------------------------------------------------------------------------------------------- EPUB

#: Turns the formulas in its first element into MathML, one after the other, in its second.
_CONVERT = """<!DOCTYPE html><meta charset="utf-8"><pre id="formulas">{formulas}</pre><pre id="made"></pre>
<script>MathJax = {{ startup: {{ typeset: false }} }};</script><script src="{mathjax}"></script><script>
MathJax.startup.promise.then(async () => {{
  const made = [];
  for (const [tex, display] of JSON.parse(document.getElementById("formulas").textContent)) {{
    made.push(await MathJax.tex2mmlPromise(tex, {{ display }}));
    MathJax.texReset();
  }}
  document.getElementById("made").textContent = JSON.stringify(made);
}});</script>"""


def mathml(formulas: Sequence[tuple[str, bool]]) -> list[str] | None:
    """Formulas (TeX, and whether each stands on its own line) as MathML; None where there is no Chromium.

    Raises
    ------
    RuntimeError
        If the browser gave no answer.
    """
    browser = _chromium()
    if browser is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "convert.html"
        text = html.escape(json.dumps(list(formulas)), quote=False)
        page.write_text(_CONVERT.format(formulas=text, mathjax=MATHJAX.resolve().as_uri()), encoding="utf-8")
        written = _browse(browser, page, "--dump-dom", budget_ms=600_000)
    found = re.search(r'<pre id="made">(.+?)</pre>', written, flags=re.S)
    if found is None:
        raise RuntimeError(f"{browser} made no MathML")
    return [re.sub(r"<!--.*?-->", "", one) for one in json.loads(html.unescape(found.group(1)))]


def _formula(element: minidom.Element) -> tuple[str, str, bool]:
    """The TeX of a formula on a page without its tag, the tag, and whether it stands on its own line."""
    tex = "".join(node.data for node in element.childNodes if isinstance(node, minidom.Text)).strip()
    tex = re.sub(r"^\\[(\[](.*)\\[)\]]$", r"\1", tex, flags=re.S).strip()
    tag = re.search(r"\\tag\{([^{}]*)\}", tex)
    return re.sub(r"\\tag\{[^{}]*\}", "", tex), f"({tag.group(1)})" if tag else "", element.tagName == "div"


def _fill(element: Any, text: str, tag: str) -> None:
    """Put a formula's MathML in place of its TeX, and after it the number by which the text calls it."""
    page = element.ownerDocument
    while element.firstChild is not None:
        element.removeChild(element.firstChild)
    element.appendChild(page.importNode(minidom.parseString(text).documentElement, deep=True))
    if tag:
        element.appendChild(page.createTextNode(f"\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}{tag}"))


def _drop(element: Any) -> None:
    element.parentNode.removeChild(element)


def _classes(element: minidom.Element) -> set[str]:
    return set(element.getAttribute("class").split())


def plain_page(page: minidom.Document) -> list[minidom.Element]:
    """Take out of a page what a reader of books cannot run or open; the formulas that are left."""
    for name in ("script", "details", "button"):
        for element in page.getElementsByTagName(name):
            if element.parentNode is not None and (name != "details" or "hide" in _classes(element)):
                _drop(element)
            elif name == "details":
                element.setAttribute("open", "open")
    for slider in [element for element in page.getElementsByTagName("div") if "frames" in _classes(element)]:
        for label in slider.getElementsByTagName("label"):
            _drop(label)
        for picture in slider.getElementsByTagName("img"):
            if "frames-still" not in _classes(picture):
                _drop(picture)
    return [e for name in ("span", "div") for e in page.getElementsByTagName(name) if "math" in _classes(e)]


def finish(book: Path) -> Path:
    """Rewrite an EPUB: formulas as MathML, no scripts, no folded cells, of each slider its still."""
    with zipfile.ZipFile(book) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    pages = {name: minidom.parseString(data) for name, data in parts.items() if name.endswith(".xhtml")}
    found = {name: plain_page(page) for name, page in pages.items()}
    elements = [element for of_page in found.values() for element in of_page]
    told = [_formula(element) for element in elements]
    made = mathml([(tex, display) for tex, _, display in told])
    if made is None:
        print("no Chromium: the formulas of the EPUB stay TeX", file=sys.stderr)
    else:
        for element, (_, tag, _), text in zip(elements, told, made, strict=True):
            _fill(element, text, tag)
    parts |= {name: page.toxml(encoding="utf-8") for name, page in pages.items()}
    with_math = {name for name, of_page in found.items() if of_page and made is not None}
    for name in [name for name in parts if name.endswith(".opf")]:
        parts[name] = _declared(parts[name].decode(), with_math).encode()
    with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():  # the first says what the file is, and is not compressed
            archive.writestr(name, data, zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED)
    return book


def _declared(package: str, with_math: set[str]) -> str:
    """The list of an EPUB's files, which says of each page whether there is MathML in it."""

    def item(found: re.Match[str]) -> str:
        return found.group().replace("<item ", '<item properties="mathml" ') if found.group(1) in with_math else found.group()

    return re.sub(r'<item [^>]*href="([^"]+)"[^>]*>', item, package)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


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
