"""Mutants: which changes are made, and that tests which do not notice one are told."""

import ast
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import toy_run
from tools import mutants

METHOD = '''"""A toy method, eq. (9)."""
import math

from lib import checks


def norm(x: float = 3.0, y: float = 4.0) -> float:
    """Length, (1)."""
    checks.number("x", x, low=-1e9)
    return math.sqrt(x * x + y * y)  # (1)


def clip(x, low=0, high=1):
    # Eq. (2): the nearest
    # point of the interval
    return min(max(x, low), high)


def steps(x):
    if x < 0:  # Algorithm 1
        raise ValueError(f"negative: {x + 1}")
    return -x / 2.5
'''
TESTS = """from lib.online import toy


def test_norm():
    assert toy.norm() == 5
    assert toy.norm(6.0, 8.0) == 10


def test_clip():
    assert toy.clip(2) == 1
    assert toy.clip(0.5) == 0.5
    assert toy.clip(-1) == 0
"""


def changed(text):
    """The one line that each change makes different, before and after."""
    found = []
    for mutant in mutants.mutants(Path("toy.py"), text):
        after = mutant.apply(text)
        ast.parse(after)
        pairs = zip(text.splitlines(), after.splitlines(), strict=True)
        found += [(a.strip(), b.strip()) for a, b in pairs if a != b]
    return found


@pytest.mark.parametrize(
    ("line", "afterwards"),
    [
        ("y = a + b", ["y = a - b"]),
        ("y = (a - b) * (c)", ["y = (a + b) * (c)", "y = (a - b) / (c)"]),
        ("y /= c", ["y *= c"]),
        ("y = a < b <= c", ["y = a <= b <= c", "y = a < b < c"]),
        ("y = 2", ["y = 3"]),
        ("y = 1.0", ["y = 1.2000000000000002"]),
        ("y = -a", ["y = a"]),
        ("y = np.sqrt(a).abs()", ["y = np.sqrt(a)", "y = (a).abs()"]),
        ("y = max(a, torch.minimum(b, c))", ["y = min(a, torch.minimum(b, c))", "y = max(a, torch.maximum(b, c))"]),
        ("y = α + β", ["y = α - β"]),
        ("def f(a=0.5): pass", ["def f(a=0.65): pass"]),
        ("checks.number('a', a, low=1)", []),
        ("y: Literal[3] = f'{a + 1}' if True else None", []),
        ("assert a > 3, a + 1", []),
    ],
)
def test_what_is_changed(line, afterwards):
    assert sorted(after for _, after in changed(line + "\n")) == sorted(afterwards)


def test_operators_over_several_lines_with_brackets_and_comments():
    text = "y = (\n    (a + 1)  # the first - part\n    - (b)\n)\n"
    found = [mutant.apply(text) for mutant in mutants.mutants(Path("toy.py"), text)]
    assert text.replace("a + 1", "a - 1") in found
    assert all(ast.unparse(ast.parse(one)) != ast.unparse(ast.parse(text)) for one in found)


def test_lines_with_a_number_are_those_of_the_statement_that_the_comment_is_at():
    numbered = mutants.numbered_lines(METHOD, ast.parse(METHOD))
    lines = METHOD.splitlines()
    assert [lines[n - 1].strip() for n in sorted(numbered)] == [
        "return math.sqrt(x * x + y * y)  # (1)",
        "return min(max(x, low), high)",
        "if x < 0:  # Algorithm 1",
    ]


@pytest.mark.parametrize(
    "comment", ["# (3)", "# eq. 3", "# Eq. (3a)", "# Equations (3) and (4)", "# Algorithm 1, line 3", "# by (3b)"]
)
def test_what_is_a_number_of_an_equation(comment):
    assert mutants.numbered_lines(f"y = a + b  {comment}\n", ast.parse("y = a + b")) == {1}


@pytest.mark.parametrize("comment", ["# 3 of them", "# (a)", "# f(x)", "# algorithms"])
def test_what_is_none(comment):
    assert mutants.numbered_lines(f"y = a + b  {comment}\n", ast.parse("y = a + b")) == set()


@pytest.fixture
def toy(toy_project):
    """A toy project whose paper has the method and the tests above."""
    package = toy_project / "lib/online/toy"
    shutil.rmtree(package, ignore_errors=True)
    (package / "study").mkdir(parents=True)
    (package / "__init__.py").write_text("from lib.online.toy.method import clip, norm, steps\n")
    (package / "method.py").write_text(METHOD)
    (package / "study" / "__init__.py").write_text("y = 1 + 2  # (7)\n")
    (toy_project / "tests/online").mkdir(parents=True, exist_ok=True)
    (toy_project / "tests/online/test_toy.py").write_text(TESTS)
    return toy_project


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_survivors_are_listed_and_one_on_a_numbered_line_fails(toy):
    done = toy_run(toy, "tools.mutants", "toy", timeout=600)
    assert done.returncode == 1, done.stderr
    survivors = [line for line in done.stdout.splitlines() if line.startswith("survives")]
    # Nothing tests `steps`; the lines of `norm` and `clip` are tested.
    assert len(survivors) == 2
    assert "survives: lib/online/toy/method.py:20: if x < 0:  ->  if x <= 0:" in survivors
    assert "6 of 8 changes were noticed" in done.stdout
    assert (toy / "lib/online/toy/method.py").read_text() == METHOD

    tests = toy / "tests/online/test_toy.py"
    tests.write_text(
        TESTS + "\n\ndef test_steps():\n    import pytest\n\n    assert toy.steps(0.0) == 0\n"
        "    assert toy.steps(0.5) == -0.2\n    with pytest.raises(ValueError):\n        toy.steps(-1e-9)\n"
    )
    done = toy_run(toy, "tools.mutants", "toy", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    done = toy_run(toy, "tools.mutants", "toy", "--lines", "all", "--sample", "3", "--seed", "1", timeout=600)
    assert done.returncode == 0
    assert "3 changes" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_what_cannot_be_broken_is_said(toy):
    (toy / "tests/online/test_toy.py").write_text("def test_fails():\n    assert False\n")
    done = toy_run(toy, "tools.mutants", "toy", timeout=600)
    assert done.returncode == 2
    assert "the tests fail on the unbroken code" in done.stderr
    (toy / "tests/online/test_toy.py").unlink()
    done = toy_run(toy, "tools.mutants", "toy", timeout=600)
    assert (done.returncode, done.stderr) == (2, "error: toy has no tests\n")
    (toy / "lib/online/toy/method.py").write_text(ast.unparse(ast.parse(METHOD)))  # without comments
    done = toy_run(toy, "tools.mutants", "toy", timeout=600)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no line of toy to break")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_change_that_hangs_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants.papers, "root", lambda: tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/method.py").write_text("n = 3\n")
    tests = mutants.Tests.__new__(mutants.Tests)
    tests.copies = [tmp_path / "copy"]
    (tmp_path / "copy/lib").mkdir(parents=True)

    def start(copy):
        pid = os.fork()
        if not pid:
            os.setsid()
            os.execvp("sleep", ["sleep", "1000"])
        return pid

    monkeypatch.setattr(tests, "start", start, raising=False)
    (mutant,) = mutants.mutants(Path("lib/method.py"), "n = 3\n")
    assert list(tests.survivors([mutant], limit_s=0.3)) == []
