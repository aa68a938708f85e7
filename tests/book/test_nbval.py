"""The comparison of outputs can fail: tampered notebooks must."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools import notebooks
from tools.compare import Tolerant

CELLS = [
    "print('accuracy 0.8123, wins 12')",
    "from IPython.display import display\n"
    "display({'text/plain': 'C1 reproduced', 'application/json': {'verdict': 'reproduced', 'value': 0.8123}}, raw=True)",
]


@pytest.fixture
def stored(tmp_path):
    """A small executed notebook inside this project's tests (so that its conftest applies), and how to run it."""
    cells = [
        {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], "execution_count": i + 1}
        for i, text in enumerate(CELLS)
    ]
    cells[0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "accuracy 0.8123, wins 12\n"}]
    data = {"text/plain": "C1 reproduced", "application/json": {"verdict": "reproduced", "value": 0.8123}}
    cells[1]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data}]
    return notebooks.normalize({"cells": cells}, "tamper")


def nbval(notebook, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "tamper.ipynb").write_text(notebooks.dumps(notebook), encoding="utf-8")
    (folder / "tamper.yml").write_text("rtol: 1.0e-4\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-q",
        "-p",
        "no:cacheprovider",
        str(folder),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_untouched_and_within_tolerance_pass(stored, tmp_path):
    stored["cells"][0]["outputs"][0]["text"] = ["accuracy 0.81231, wins 12\n"]
    stored["cells"][1]["outputs"][0]["data"]["application/json"]["value"] = 0.81229
    done = nbval(stored, tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["number", "integer", "word", "verdict", "emitted number", "emitted verdict", "deleted output"]
)
def test_tampered_fails(stored, tmp_path, what):
    first, second = (cell["outputs"] for cell in stored["cells"])
    match what:
        case "number":
            first[0]["text"] = ["accuracy 0.8223, wins 12\n"]
        case "integer":
            first[0]["text"] = ["accuracy 0.8123, wins 13\n"]
        case "word":
            first[0]["text"] = ["precision 0.8123, wins 12\n"]
        case "verdict":
            second[0]["data"]["text/plain"] = ["C1 partly"]
        case "emitted number":
            second[0]["data"]["application/json"]["value"] = 0.8323
        case "emitted verdict":
            second[0]["data"]["application/json"]["verdict"] = "partly"
        case "deleted output":
            first.clear()
    done = nbval(stored, tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.parametrize(
    ("stored", "now", "same"),
    [
        ("f1 0.634", "f1 0.634", True),
        ("f1 0.634", "f1 0.635", True),  # the last of three printed digits
        ("f1 0.63", "f1 0.64", False),
        ("f1 0.634", "f1 0.636", False),
        ("f1 0.6340", "f1 0.6345", False),
        ("wins 19/20", "wins 18/20", False),
        ("max 1.2e-16", "max 3.4e-16", True),
        ("max 1.2e-16", "max 3.4e-06", False),
        ("x 1,234.5", "x 1,234.5", True),
        ("x 123456.7", "x 123456.8", True),
        ("reproduced 0.634", "partly 0.634", False),
        ("0.634", "0.634 0.1", False),
        ("-0.634", "0.634", False),
        ("nan", "0.1", False),
        ("best 0, share 0.5", "best -1.8e-15, share 0.5", True),
        ("1,234 and 5", "1,235 and 5", False),
    ],
)
def test_what_counts_as_the_same(stored, now, same):
    assert (Tolerant(stored, 1e-4) == now) is same
    assert (Tolerant(stored, 1e-4) != now) is not same
