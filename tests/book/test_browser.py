"""The built book in a real browser without a network: math is typeset, figures are visible, search finds a chapter."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading

import pytest

from lib import papers
from tests.conftest import ROOT

HTML = ROOT / "_build" / "html"
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


def dom(url, tmp_path):
    """The page's document after its scripts ran, in a browser that can reach nothing but loopback."""
    assert CHROMIUM is not None, MISSING
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *(f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--window-size=1200,2000", "--dump-dom", url),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


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
      const pictures = [...e.target.contentDocument.querySelectorAll("article img")];
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
