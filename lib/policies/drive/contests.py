"""Contest problems: programs judged by tests in a process of their own, and the problems of LiveCodeBench from files.

LiveCodeBench (Jain et al. 2024, arXiv:2403.07974) is what the paper's second stage trains on, 175 problems of its sixth
version. It is not part of this package: download its files ``test.jsonl``, ``test2.jsonl``, ... (code_generation_lite on the
Hugging Face hub; version 6 adds ``test6.jsonl``) and hand over one of them, or their folder.
"""

from __future__ import annotations

import base64
import datetime
import json
import pickletools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from lib import checks
from lib.policies.drive.sandbox import Failure, Limits, run_sandboxed
from lib.policies.drive.tasks import CheckResult

#: Of one program on all tests of a problem together; LiveCodeBench's own checker gives each test six seconds.
CONTEST_LIMITS = Limits(seconds=60, cpu_seconds=30, memory=2**30, output=2**24)
#: Most bytes of a problem's unpacked private tests.
MOST_BYTES = 2**28
KEYS = (
    "question_title", "question_content", "platform", "question_id", "contest_date", "starter_code", "difficulty",
    "public_test_cases", "private_test_cases", "metadata",
)  # fmt: skip

#: What a pickled text consists of.
_TEXT = {
    "PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP",
}  # fmt: skip
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)


def same_output(got: Any, wanted: Any) -> bool:
    """Whether an output is right: texts line by line without white space around them, or number by number; else equality.

    Parameters
    ----------
    got, wanted : any
        Numbers in texts are compared exactly, as decimals, as LiveCodeBench does.

    Examples
    --------
    >>> from lib.policies.drive.contests import same_output
    >>> same_output("1.50 2\\n", "1.5 2"), same_output("1.5001 2", "1.5 2"), same_output([1, 2], [1, 2])
    (True, False, True)
    """
    if not isinstance(got, str) or not isinstance(wanted, str):
        return bool(got == wanted)
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (got, wanted))
    return len(ours) == len(theirs) and all(a == b or _same_numbers(a, b) for a, b in zip(ours, theirs, strict=True))


def _same_numbers(a: str, b: str) -> bool:
    ours, theirs = a.split(), b.split()
    if len(ours) != len(theirs) or not all(_DECIMAL.fullmatch(word) for word in (*ours, *theirs)):
        return False
    return all(Decimal(p) == Decimal(q) for p, q in zip(ours, theirs, strict=True))


def judge(
    source: str, tests: Sequence[Mapping[str, Any]], function: str | None = None, limits: Limits | None = None
) -> CheckResult:
    """What tests say of a program that is run in a process of its own, which never sees the outputs that are wanted.

    Parameters
    ----------
    source : str
    tests : sequence of mappings
        At least one, each with ``input`` and ``output``. Without `function`: all inputs texts for programs that read and
        print, else what ``solve`` takes. With it, as in LiveCodeBench: a text of JSON, one argument a line, and one of JSON.
    function : str, optional
        Of the program, or of its class ``Solution``.
    limits : Limits, optional
        For all tests together; `CONTEST_LIMITS` by default.

    Raises
    ------
    TypeError, ValueError
        For tests of another form.

    Examples
    --------
    >>> from lib.policies.drive.contests import judge
    >>> judge("print(int(input()) * 2)", [{"input": "21", "output": "42"}, {"input": "0", "output": "1"}])
    CheckResult(passed=False, n_passed=1, error='')
    """
    tests = list(tests)
    if not tests:
        raise ValueError("tests must hold at least one, got none: every program would pass")
    for test in tests:
        if not isinstance(test, Mapping) or not {"input", "output"} <= set(test):
            raise ValueError(f"tests must hold mappings with input and output, got {checks.shown(test)}")
    inputs, wanted = [test["input"] for test in tests], [test["output"] for test in tests]
    if function is not None:
        inputs, wanted = [arguments(text) for text in inputs], [_parsed("output", text) for text in wanted]
    limits = CONTEST_LIMITS if limits is None else limits
    found = run_sandboxed(source, inputs, limits, "process", function, names=True)
    if isinstance(found, Failure):
        return CheckResult(False, 0, found.kind)
    right = (
        sum(map(same_output, found, wanted)) if function is None else sum(a == b for a, b in zip(found, wanted, strict=True))
    )
    return CheckResult(right == len(wanted), right)


def arguments(text: str) -> list[Any]:
    """The arguments of a call from a text with one of them a line, in JSON."""
    return [_parsed("input", line) for line in text.split("\n") if line.strip()]


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{name} must be JSON where a function is called, got {checks.shown(text)}") from None


@dataclass(frozen=True)
class ContestProblem:
    """A problem of a programming contest.

    name, title, statement : what the contest calls it and asks
    public, private : tests, each with ``input`` and ``output``; the statement shows the public ones
    function : what a program must define, where it does not read and print
    starter : how such a program begins
    platform, difficulty, date : of the contest; "easy", "medium" or "hard"

    Examples
    --------
    >>> from lib.policies.drive import ContestProblem
    >>> problem = ContestProblem("a", "Twice", "Print twice the number.", ({"input": "2", "output": "4"},))
    >>> problem.check("print(2 * int(input()))").passed
    True
    """

    name: str
    title: str
    statement: str
    public: tuple[dict[str, str], ...] = field(hash=False)
    private: tuple[dict[str, str], ...] = field(default=(), repr=False, hash=False)
    function: str | None = None
    starter: str = ""
    platform: str = ""
    difficulty: str = ""
    date: datetime.date | None = None

    @property
    def prompt(self) -> str:
        """The task for a language model: the statement, and in what form the answer is wanted."""
        how = (
            f"Complete this code:\n\n```python\n{self.starter}\n```"
            if self.function
            else "Write a program that reads from standard input and prints the answer."
        )
        return f"{self.statement}\n\n{how}\n\nGive the whole Python program in one fenced block.\n"

    def tests(self, hidden: bool = True) -> list[dict[str, str]]:
        """The public tests, and the private ones unless `hidden` is false."""
        return [*self.public, *(self.private if checks.boolean("hidden", hidden) else ())]

    def check(self, source: str, hidden: bool = True, limits: Limits | None = None) -> CheckResult:
        """Run a program on the tests, see `judge`."""
        return judge(source, self.tests(hidden), self.function, limits)

    def row(self, hidden: bool = True) -> dict[str, Any]:
        """What `train_with_trl` takes of a problem: ``datasets.Dataset.from_list([p.row() for p in problems])``."""
        return {"prompt": self.prompt, "tests": self.tests(hidden), "function": self.function}


def load_livecodebench(
    path: str | Path | Iterable[str | bytes], private: bool = True, most_bytes: int = MOST_BYTES
) -> list[ContestProblem]:
    """The problems of LiveCodeBench, from files in the form in which they are published; nothing is downloaded or unpickled.

    A file holds one JSON object a line, with ``question_id``, ``question_title``, ``question_content``, ``starter_code``,
    ``platform``, ``difficulty``, ``contest_date``, and, as JSON inside a text, ``public_test_cases``, ``private_test_cases``
    and ``metadata``. A test has ``input``, ``output`` and ``testtype``: "stdin" for programs that read and print,
    "functional" for the function that the metadata name as ``func_name``. Private tests are JSON in code_generation, and in
    code_generation_lite the base64 of a zlib stream of a pickled text of JSON. Of that pickle only the text is read: one that
    holds anything beside a text is refused, and none is carried out.

    Parameters
    ----------
    path : str, Path or iterable of lines
        A file, a folder whose ``*.jsonl`` are read in the order of their names, or the lines themselves, as of an open file.
    private : bool
        Whether private tests are read; they say whether a program is right. True by default.
    most_bytes : int
        Longest private tests of a problem after unpacking, 256 MiB by default: a small file can unpack to a huge one.

    Returns
    -------
    list of ContestProblem

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no ``*.jsonl`` in the folder.
    ValueError
        For a file of another form; the message names file, line and what is wrong.

    Examples
    --------
    >>> import json
    >>> from lib.policies.drive import load_livecodebench
    >>> test = [{"input": "3", "output": "6", "testtype": "stdin"}]
    >>> row = {"question_id": "a", "question_title": "Twice", "question_content": "Print twice the number.",
    ...     "starter_code": "", "platform": "atcoder", "difficulty": "easy", "contest_date": "2025-01-04T00:00:00",
    ...     "public_test_cases": json.dumps(test), "private_test_cases": json.dumps(test), "metadata": "{}"}
    >>> problems = load_livecodebench([json.dumps(row)])  # or load_livecodebench("test6.jsonl")
    >>> problems[0].name, len(problems[0].tests()), problems[0].check("print(int(input()) * 2)").passed
    ('a', 2, True)
    """
    private, most_bytes = checks.boolean("private", private), checks.integer("most_bytes", most_bytes, low=1)
    problems: dict[str, ContestProblem] = {}
    for where, line in _lines(path):
        try:
            problem = _problem(line, private, most_bytes)
            if problem.name in problems:
                raise ValueError(f"question_id {problem.name!r} stands twice")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        problems[problem.name] = problem
    if not problems:
        raise ValueError(f"path must hold at least one problem, got none in {checks.shown(path)}")
    return list(problems.values())


def _lines(path: Any) -> Iterator[tuple[str, str | bytes]]:
    """Lines that are not empty, and where they stand; a file is read as it is asked for them."""
    if isinstance(path, str | Path) and str(path):
        place = Path(path)
        files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
        if not files or not files[0].is_file():
            raise FileNotFoundError(
                f"path: no LiveCodeBench file at {path}; download test.jsonl, test2.jsonl, ... of code_generation_lite from "
                "https://huggingface.co/datasets/livecodebench/code_generation_lite and give one of them or their folder"
            )
        for file in files:
            with open(file, "rb") as opened:
                yield from ((f"{file.name}, {where}", line) for where, line in _lines(opened))
        return
    if isinstance(path, str | bytes | Mapping) or not isinstance(path, Iterable):
        raise TypeError(f"path must be that of a file or folder, or lines, got {checks.shown(path)}")
    for number, line in enumerate(path, 1):
        if not isinstance(line, str | bytes):
            raise TypeError(f"path must hold lines of text, got {checks.shown(line)}")
        if line.strip():
            yield f"line {number}", line


def _problem(line: str | bytes, private: bool, most_bytes: int) -> ContestProblem:
    row = _json("the line", line, dict)
    if missing := [key for key in KEYS if key not in row]:
        raise ValueError(f"no {', '.join(missing)}: not a row of LiveCodeBench's code generation")
    function = _json("metadata", row["metadata"], dict).get("func_name")
    public, hidden = _json("public_test_cases", row["public_test_cases"], list), []
    if private:
        text = row["private_test_cases"]
        if isinstance(text, str) and not text.lstrip().startswith("["):
            text = unpacked(text, most_bytes)
        hidden = _json("private_test_cases", text, list)
    tests = [*_tests("public_test_cases", public), *_tests("private_test_cases", hidden)]
    kinds = {test.pop("testtype") for test in tests}
    if len(kinds) != 1:
        raise ValueError("the tests must be all stdin or all functional" if kinds else "there is no test")
    if (kinds == {"functional"}) != (function is not None):
        raise ValueError("metadata must name func_name where tests are functional, and only there")
    if function is not None:
        for test in tests:
            arguments(test["input"]), _parsed("output", test["output"])
    return ContestProblem(
        name=str(row["question_id"]), title=str(row["question_title"]), statement=str(row["question_content"]),
        public=tuple(tests[: len(public)]), private=tuple(tests[len(public) :]), function=function,
        starter=str(row["starter_code"] or ""), platform=str(row["platform"]), difficulty=str(row["difficulty"]),
        date=datetime.datetime.fromisoformat(str(row["contest_date"])).date(),
    )  # fmt: skip


def _json(name: str, given: Any, kind: type) -> Any:
    """A value that stands as JSON in a text, or as it is."""
    try:
        value = json.loads(given) if isinstance(given, str | bytes) else given
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not JSON") from None
    if not isinstance(value, kind):
        raise ValueError(f"{name} must hold a {kind.__name__}, got {checks.shown(value)}")
    return value


def _tests(name: str, given: list[Any]) -> list[dict[str, str]]:
    found = []
    for test in given:
        keys = ("input", "output", "testtype")
        if not isinstance(test, dict) or not all(isinstance(test.get(key), str) for key in keys):
            raise ValueError(f"{name} must hold tests with the texts input, output and testtype, got {checks.shown(test)}")
        if test["testtype"] not in ("stdin", "functional"):
            raise ValueError(f"{name}: testtype must be stdin or functional, got {checks.shown(test['testtype'])}")
        found.append({key: test[key] for key in keys})
    return found


def unpacked(text: str, most_bytes: int = MOST_BYTES) -> str | bytes:
    """The text inside the packing of private tests: base64 of zlib of a pickled text. The pickle is read, not carried out.

    Raises
    ------
    ValueError
        For anything else: a pickle of anything but one text, more than `most_bytes`.
    """
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), most_bytes)
    except (ValueError, zlib.error):
        raise ValueError("private_test_cases are neither JSON nor base64 of a zlib stream") from None
    if stream.unconsumed_tail:
        raise ValueError(f"private_test_cases unpack to more than most_bytes = {most_bytes} bytes")
    if not stream.eof:
        raise ValueError("private_test_cases end too early")
    found = []
    try:
        for code, value, _ in pickletools.genops(data):
            if code.name not in _TEXT:
                raise ValueError(f"the pickle holds more than a text ({code.name}) and is not carried out")
            found += [value] if isinstance(value, str) else []
    except ValueError as error:
        raise ValueError(f"private_test_cases: {error}") from None
    if len(found) != 1:
        raise ValueError(f"private_test_cases must be one pickled text, got {len(found)}")
    return found[0]
