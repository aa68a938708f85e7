"""Running programs that a model wrote: in this process only where an interpreter of ours walks them, else in a jail.

No Python library can do what the jail does with the system's help: RestrictedPython, asteval and simpleeval restrict names
inside the same process, and say themselves that they are no security boundary.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lib import checks
from lib.policies.drive.expressions import Refused, evaluate, parse

#: What can go wrong: not Python, not allowed, too much work or time, an exception, no usable answer.
KINDS = ("syntax", "forbidden", "limit", "error", "output")
HOW = ("expression", "process")
#: Seconds that the jail has on top to kill what it holds, before its processes are killed from outside.
GRACE = 1
#: As in `jail`: how its reply begins, and its exit status where a process can lift its limits.
LOCKED, UNLOCKED = b"locked\n", 77


@dataclass(frozen=True)
class Limits:
    """Bounds of one run.

    nodes, fuel, magnitude : of an expression: size of its tree, units of work for each input, largest number
    seconds, cpu_seconds : of a process: wall-clock and processor time, for all inputs together
    memory, output : of a process, in bytes
    """

    nodes: int = 80
    fuel: int = 5_000
    magnitude: int = 10**12
    seconds: int = 10
    cpu_seconds: int = 4
    memory: int = 512 * 2**20
    output: int = 1_000_000

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            checks.integer(name, getattr(self, name), low=1, wide=name == "magnitude")


@dataclass(frozen=True)
class Failure:
    """Why there is no answer: `kind` is one of "syntax", "forbidden", "limit", "error", "output"."""

    kind: str
    message: str

    def __bool__(self) -> bool:
        return False


def run_sandboxed(
    source: str, inputs: Sequence[Any], limits: Limits | None = None, how: str = "expression", function: str | None = None,
    names: bool = False,
) -> list[Any] | Failure:  # fmt: skip
    """Outputs of a program for each input, or why there are none.

    Parameters
    ----------
    source : str
        An expression in ``x``; for a process also a program that defines ``solve(x)``, or, where all inputs are texts, one that
        reads its input and prints.
    inputs : sequence
        Lists of integers; for a process whatever JSON holds. Expected outputs do not belong here: the program could read them.
    limits : Limits, optional
    how : {"expression", "process"}
        "expression" walks the syntax tree of a small language in this process: for the problems of this package.
        "process" starts a Python without network, files, further processes or rights: for everything else.
    function : str, optional
        Of a process: what is called instead of ``solve``, a function of the program or a method of its class ``Solution``;
        each input is then the list of its arguments.
    names : bool
        Of a process: whether names of the usual standard modules stand ready without an import, and calls may nest deep, as
        contests have it. False by default.

    Returns
    -------
    list or Failure
        One output for each input; a failure is false.

    Raises
    ------
    TypeError, ValueError
        For arguments of another kind.
    RuntimeError
        If this system cannot lock a process in; then nothing has run.

    Examples
    --------
    >>> from lib.policies.drive import run_sandboxed
    >>> run_sandboxed("sum([v * v for v in x if v % 2 == 0])", [[1, 2, 3, 4]])
    [20]
    >>> run_sandboxed("x.__class__", [[1]]).kind
    'forbidden'
    """
    checks.choice("how", how, HOW)
    if not isinstance(source, str):
        raise TypeError(f"source must be text, got {checks.shown(source)}")
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Sequence):
        raise TypeError(f"inputs must be a sequence with one entry for each run, got {checks.shown(inputs)}")
    limits = Limits() if limits is None else limits
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be Limits, got {checks.shown(limits)}")
    names = checks.boolean("names", names)
    if how == "expression":
        if function is not None or names:
            raise ValueError("function and names are for how='process' only: an expression has no functions of its own")
        return _interpreted(source, inputs, limits)
    if function is not None:
        if not isinstance(function, str) or not function.isidentifier():
            raise ValueError(f"function must be the name of a function, got {checks.shown(function)}")
        if not all(isinstance(x, list | tuple) for x in inputs):
            raise TypeError("inputs must be lists of arguments where a function is named")
    return _jailed({"source": source, "inputs": list(inputs), "function": function, "names": names}, limits)


def _interpreted(source: str, inputs: Sequence[Any], limits: Limits) -> list[Any] | Failure:
    for x in inputs:
        if isinstance(x, str | bytes) or not isinstance(x, Sequence) or not all(type(v) is int for v in x):
            raise TypeError(f"inputs must be lists of integers for an expression, got {checks.shown(x)}")
    try:
        code = parse(source, limits.nodes)
        return [evaluate(code, x, limits.fuel, limits.magnitude) for x in inputs]
    except Refused as refusal:
        return Failure(refusal.kind, str(refusal))


def _jailed(asked: dict[str, Any], limits: Limits) -> list[Any] | Failure:
    if importlib.util.find_spec("resource") is None:
        raise RuntimeError("no limits can be set on this system: programs run in a process on Linux and macOS only")
    try:
        request = json.dumps(asked).encode()
    except (TypeError, ValueError):
        raise TypeError(f"inputs must be what JSON holds, got {checks.shown(asked['inputs'])}") from None
    bounds = map(str, (limits.cpu_seconds, limits.memory, limits.seconds, limits.output))
    command = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("jail.py")), *bounds]
    with tempfile.TemporaryDirectory(prefix="jail-") as place, tempfile.NamedTemporaryFile(prefix="asked-") as file:
        os.chmod(place, 0o755)
        file.write(request)
        file.flush()
        with open(file.name, "rb") as readable:  # what the program holds open cannot be written, by no mapping either
            reply, late, status = _talk(command, place, readable, limits)
    if not reply.startswith(LOCKED):
        if status == UNLOCKED:
            raise RuntimeError("nothing was run: locking a process in takes Linux with seccomp or namespaces, or root")
        raise RuntimeError(f"the jail did not start, exit status {status}")
    reply = reply.removeprefix(LOCKED)
    if late:
        return Failure("limit", f"more than {limits.seconds} s")
    if len(reply) > limits.output:
        return Failure("limit", f"more than {limits.output} bytes of output")
    return _read(reply, len(asked["inputs"])) if reply else Failure("limit", "killed: out of time or memory")


def _talk(command: list[str], place: str, asked: IO[bytes], limits: Limits) -> tuple[bytes, bool, int]:
    """At most as many bytes of reply as are allowed and one; whether the time was over; the exit status."""
    with subprocess.Popen(
        command, cwd=place, env={}, stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        late = threading.Event()

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

        def expire() -> None:
            late.set()
            kill()

        clock = threading.Timer(limits.seconds + GRACE, expire)
        clock.start()
        try:
            assert process.stdout is not None
            reply = process.stdout.read(limits.output + len(LOCKED) + 1)
        finally:
            clock.cancel()
            kill()
    return reply, late.is_set(), process.returncode


def _read(reply: bytes, n: int) -> list[Any] | Failure:
    """The reply of the jail, which a program may have forged: whatever has the wrong form is no answer."""
    try:
        said = json.loads(reply)
        outputs = said.get("outputs") if isinstance(said, dict) else None
        if isinstance(outputs, list) and len(outputs) == n:
            return outputs
        return Failure(checks.choice("kind", said["kind"], KINDS), str(said["message"])[:300])
    except (ValueError, TypeError, KeyError, RecursionError):
        return Failure("output", "no usable answer")
