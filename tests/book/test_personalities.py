"""Other CPUs: a personality really is another one, and a changed output is seen."""

import json
import os
import subprocess
import sys

import pytest

from lib import papers
from tools import notebooks, personalities


def test_numpy_accepts_what_it_is_told_to_leave_out():
    names = personalities.numpy_beyond_avx2()
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(names)}
    code = "from numpy._core import _multiarray_umath as m; print([n for n in m.__cpu_dispatch__ if m.__cpu_features__[n]])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert not set(names) & set(json.loads(done.stdout.replace("'", '"')))
    assert not any("AVX512" in name or name == "X86_V4" for name in json.loads(done.stdout.replace("'", '"')))


def test_names_that_numpy_does_not_know_are_left_out():
    assert not personalities._numpy_accepts("SSE")  # part of every build


def test_one_personality_has_no_avx512_anywhere():
    environment = personalities.personalities()["a CPU without AVX-512"]
    assert {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS"} <= set(environment)


@pytest.mark.slow
def test_every_output_is_compared_with_the_stored_one(tmp_path, monkeypatch, capsys):
    sources = ["import os\nprint('value', 0.5 if os.environ.get('ATEN_CPU_CAPABILITY') else 0.25)", "print('fixed 3')"]
    cells = [
        {
            "cell_type": "code",
            "metadata": {"tags": ["parameters"]} if i == 0 else {},
            "source": text,
            "execution_count": i + 1,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["value 0.25\n", "fixed 3\n"][i]}],
        }
        for i, text in enumerate(sources)
    ]
    path = tmp_path / "toy.ipynb"
    path.write_text(notebooks.dumps(notebooks.normalize({"cells": cells}, "toy")))
    monkeypatch.setattr(papers, "chapter", lambda slug: path)
    assert personalities.main(["toy", "--only", "MKL"]) == 0
    assert personalities.main(["toy", "--only", "torch"]) == 1
    out = capsys.readouterr().out
    assert "toy, MKL's compatible code path: the same outputs" in out
    assert "toy, torch without vector instructions: 1 outputs differ" in out
    assert "code cell 1, stdout: 'value 0.25' stored, 'value 0.5' executed" in out
