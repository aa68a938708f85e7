"""The built book in a real browser without a network: math is typeset, figures are visible, search finds a chapter."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from lib import papers
from tests.conftest import ROOT

HTML = Path(os.environ.get("BOOK_HTML", ROOT / "_build" / "html"))  # another built book can be tested, too
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "needs Chromium (Debian: apt-get install chromium)"

pytestmark = [
    pytest.mark.book,
    pytest.mark.slow,
    pytest.mark.skipif(not (HTML / "index.html").is_file(), reason="the book is not built: make book"),
    pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason=MISSING),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    """The built book, served on loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def dom(url, tmp_path, budget_ms=20_000, size="1200,2000"):
    """The page's document after its scripts ran, in a browser that can reach nothing but loopback."""
    return visit(url, tmp_path, budget_ms, size).stdout


def visit(url, tmp_path, budget_ms, size):
    """The browser's run: the document on stdout, what pages wrote to the console on stderr."""
    assert CHROMIUM is not None, MISSING
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *(f"--user-data-dir={tmp_path}", f"--virtual-time-budget={budget_ms}", f"--window-size={size}"),
        *("--enable-logging=stderr", "--v=0", "--dump-dom", url),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)


def test_a_chapter_shows_its_math_and_its_figures(address, tmp_path):
    for slug, part in papers.slugs().items():
        text = dom(f"{address}/book/{part}/{slug}.html", tmp_path / slug)
        assert text.count("<mjx-container") >= 10, slug
        assert "<mjx-merror" not in text, slug
        assert not re.search(r"\\\(.{1,40}\\\)", re.sub(r"<(script|pre|code)\b.*?</\1>", "", text, flags=re.S)), slug
        pictures = re.findall(r'<img[^>]+src="([^"]+_images/[^"]+)"', text)
        assert len(pictures) >= 3, slug


def test_a_picture_is_really_drawn(address, tmp_path):
    slug, part = next(iter(papers.slugs().items()))
    probe = HTML / "_probe.html"
    # The chapter in a frame of its own origin; once loaded, ask every picture for its size.
    script = """
    document.getElementById("f").onload = e => {
      const all = [...e.target.contentDocument.querySelectorAll("article img")];
      const pictures = all.filter(i => i.offsetParent !== null); // a slider shows one of its frames
      pictures.forEach(i => { i.loading = "eager"; });
      setTimeout(() => {
        const drawn = i => i.complete && i.naturalWidth > 100 && i.getBoundingClientRect().width > 100;
        document.getElementById("sizes").textContent = pictures.map(drawn).join(" ");
      }, 1000);
    };"""
    frame = f'<iframe id="f" src="book/{part}/{slug}.html" width="1200" height="4000"></iframe>'
    probe.write_text(f'{frame}<pre id="sizes"></pre><script>{script}</script>')
    try:
        text = dom(f"{address}/_probe.html", tmp_path)
    finally:
        probe.unlink()
    shown = re.search(r'<pre id="sizes">([^<]*)</pre>', text)
    assert shown is not None
    assert len(shown.group(1).split()) >= 3
    assert set(shown.group(1).split()) == {"true"}


def test_search_finds_a_chapter(address, tmp_path):
    for slug, part in papers.slugs().items():
        text = dom(f"{address}/search.html?q={slug}", tmp_path / slug)
        found = re.findall(r'<a href="([^"?#]+)[^"]*"', text.split('id="search-results"', 1)[1])
        assert any(link.endswith(f"{part}/{slug}.html") for link in found), slug


#: Loads each page in a frame of the wanted width, one after the other, and measures what it looks like there.
PROBE = """
const jobs = JOBS, results = [], frame = document.getElementById("f");
const seen = e => e.getClientRects().length > 0 && !e.closest("details:not([open])");
function measure(d) {
  const root = d.documentElement, all = s => [...d.querySelectorAll("article " + s)].filter(seen);
  const box = e => e.getBoundingClientRect();
  const cut = e => { const p = e.closest("div.math") || e.parentElement; return box(e).left < box(p).left - 1; };
  const stretched = i => Math.abs(box(i).width / box(i).height - i.naturalWidth / i.naturalHeight)
    > 0.03 * i.naturalWidth / i.naturalHeight;
  const pictures = all("img").filter(i => i.naturalWidth);
  const code = all("div.highlight pre"), outside = e => box(e).right > root.clientWidth + 1;
  return {
    scroll: root.scrollWidth - root.clientWidth,
    cut: all('mjx-container[display="true"]').filter(cut).length,
    broken: all("span.math").filter(e => !getComputedStyle(e).display.startsWith("inline")).length,
    equations: all('mjx-container[display="true"]').length,
    wide: pictures.filter(i => box(i).width > 751).length,
    stretched: pictures.filter(i => !i.classList.contains("sd-card-img-top") && stretched(i)).length,
    code: code.filter(e => e.closest("div.cell_input") && e.scrollWidth > e.clientWidth + 1).length,
    codeOutside: code.filter(outside).length,
    tables: all("table.labeled").filter(e => box(e).right > root.clientWidth + 1).length,
    stacked: all("table.labeled tbody td").filter(e => getComputedStyle(e).display !== "block").length,
    cells: all("table.labeled tbody td").length,
    mathjax: d.querySelectorAll('script[src*="tex-chtml"]').length,
    search: [...d.querySelectorAll(".search-button__default-text")].filter(seen).length,
    header: seen(d.querySelector("#pst-header") || d.createElement("p")),
    slabs: [...d.querySelectorAll(".cell_output > *, .cell_output .output")].filter(e => e.tagName !== "IMG"
      && /^rgb\\((2[0-9][0-9]), /.test(getComputedStyle(e).backgroundColor)).length,
    dark: root.dataset.theme === "dark",
  };
}
function next() {
  if (!jobs.length) { document.getElementById("out").textContent = JSON.stringify(results); return; }
  const [page, width, theme] = jobs.shift();
  frame.width = width;
  frame.onload = () => {
    const d = frame.contentDocument;
    d.querySelectorAll("img").forEach(i => { i.loading = "eager"; });
    if (theme) d.documentElement.dataset.theme = theme;
    setTimeout(() => { results.push({ page, width, ...measure(d) }); next(); }, 3000);
  };
  frame.src = page;
}
next();
"""


@pytest.fixture(scope="module")
def measured(address, tmp_path_factory):
    """Every page at 1400 pixels and, but for rooms of the API, at 420; and the console's errors."""
    pages = sorted(path.relative_to(HTML).as_posix() for path in (HTML / "book").rglob("*.html"))
    jobs = [[page, 1400, ""] for page in pages]
    jobs += [[page, 420, ""] for page in pages if "/api/rooms/" not in page]
    jobs += [[page, 1400, "dark"] for page in pages if page.count("/") == 2 and "/api/" not in page]
    probe = HTML / "_probe_all.html"
    script = PROBE.replace("JOBS", json.dumps(jobs))
    probe.write_text(f'<iframe id="f" width="1400" height="900"></iframe><pre id="out"></pre><script>{script}</script>')
    folder = tmp_path_factory.mktemp("measured")
    try:
        done = visit(f"{address}/{probe.name}", folder, 5_000 * len(jobs) + 20_000, "1500,1000")
    finally:
        probe.unlink()
    found = re.search(r'<pre id="out">(.+?)</pre>', done.stdout, flags=re.S)
    assert found, done.stderr[-2000:]
    errors = [line for line in done.stderr.splitlines() if ":CONSOLE" in line and re.search(r"Uncaught|Error|Failed", line)]
    return json.loads(found.group(1)), errors


def worst(measured, key, width=None):
    return {f"{r['page']} at {r['width']}": r[key] for r in measured[0] if r[key] and width in (None, r["width"])}


def test_no_page_writes_an_error_to_the_console(measured):
    assert measured[1] == []


def test_no_page_scrolls_sideways(measured):
    assert worst(measured, "scroll") == {}


def test_formulas_stay_in_their_line(measured):
    assert worst(measured, "broken") == {}


def test_equations_keep_their_left_part(measured):
    assert worst(measured, "cut") == {}
    assert sum(result["equations"] for result in measured[0]) > 20


def test_pictures_are_at_most_750_pixels_wide_and_not_stretched(measured):
    assert worst(measured, "wide") == {}
    assert worst(measured, "stretched") == {}


def test_code_fits_at_1400_pixels_and_scrolls_in_its_box_on_a_phone(measured):
    assert worst(measured, "code", 1400) == {}
    assert worst(measured, "codeOutside") == {}


def test_tables_are_stacked_cards_on_a_phone(measured):
    assert worst(measured, "tables", 420) == {}
    assert worst(measured, "stacked", 420) == {}
    assert sum(result["cells"] for result in measured[0] if result["width"] == 420) > 50


def test_mathjax_is_loaded_once_and_there_is_one_search_field(measured):
    assert all(result["mathjax"] <= 1 for result in measured[0])
    assert all(result["search"] <= 1 and not result["header"] for result in measured[0])


def test_no_light_slab_lies_behind_outputs_in_the_dark(measured):
    dark = [result for result in measured[0] if result["dark"]]
    assert dark
    assert [result["page"] for result in dark if result["slabs"]] == []
