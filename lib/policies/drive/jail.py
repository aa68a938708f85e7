"""Runs one untrusted program in a process that has given up all that it could do harm with; started by `sandbox` only.

    python -I -S jail.py SECONDS_CPU BYTES_MEMORY SECONDS BYTES_OUTPUT  < request.json  > reply.json

The request holds the source and the inputs. Before the source is compiled, the process moves to namespaces of its own (network,
processes, mounts, messages) where the system lets it, locks itself into its own empty directory, gives up root and every
capability, and sets limits that it cannot lift: no new file, socket or pipe, no new process or thread, no bytes written to
files, bounded memory and processor time, an end with the process that started it. On Linux a filter leaves it the system
calls that computing needs. It then tries to break out; if that works, it refuses to run anything. An audit hook names what a
program tried that is not allowed.
"""

import builtins
import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import sys

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
NOBODY = 65534
#: Exit status where the limits do not hold; else the reply begins with LOCKED.
UNLOCKED, LOCKED = 77, "locked\n"
#: System calls that are left: reading and writing what is open, memory, time, signals to itself, the end.
CALLS = {
    "linux x86_64": (0xC000003E, (
        0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 35, 39, 60, 96, 98, 100, 131, 186, 202, 219, 228, 229, 230, 231,
        318, 334,
    )),
    "linux aarch64": (0xC00000B7, (
        63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 124, 216, 233, 101, 172, 93, 169, 165, 153, 132, 178, 98, 128,
        113, 114, 115, 94, 278, 293,
    )),
}  # fmt: skip
#: Modules that a program may import: those that are loaded before the lock.
LOADED = (
    "array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools",
    "heapq", "itertools", "math", "operator", "random", "re", "statistics", "string", "time", "typing",
)  # fmt: skip
#: Modules whose names a contest's program finds without an import, those of the last ones without their contents.
GIVEN, GIVEN_WHOLE = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "json", "typing",
), ("io", "sys")  # fmt: skip
#: How deep a program may call itself before it says more, and how deep where names are given.
DEPTH, DEPTH_GIVEN = 2_000, 50_000
#: All that the audit hook lets pass.
HARMLESS = {
    "builtins.id", "builtins.input", "builtins.input/result", "code.__new__", "compile", "exec", "function.__new__", "import",
    "marshal.dumps", "marshal.loads", "object.__delattr__", "object.__getattr__", "object.__setattr__", "sys._getframe",
    "sys.excepthook", "sys.unraisablehook",
}  # fmt: skip


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("code", ctypes.POINTER(_Instruction))]


def filter_calls(libc: ctypes.CDLL) -> bool:
    """Leave the process the system calls that computing needs, and no other; whether the system does that."""
    audit, allowed = CALLS.get(platform(), (0, ()))
    if not allowed:
        return False
    n = len(allowed)
    lines: list[tuple[int, int, int, int]] = [
        (0x20, 0, 0, 4),
        (0x15, 1, 0, audit),
        (0x06, 0, 0, 0),
        (0x20, 0, 0, 0),
    ]  # another architecture is killed
    lines += [(0x15, n - place, 0, number) for place, number in enumerate(allowed)]
    lines += [(0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]  # EPERM, or the call
    code = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    return libc.prctl(22, 2, ctypes.byref(_Filter(len(lines), code)), 0, 0) == 0


def platform() -> str:
    """The system and the machine, such as "linux x86_64"."""
    return f"{sys.platform} {os.uname().machine}"


def lock(cpu: int, memory: int, alone: bool) -> None:
    """Give up what a program does not need, for good; the process ends where that does not work."""
    libc, root, parent = ctypes.CDLL(None, use_errno=True), os.geteuid() == 0, os.getppid()
    chroot = getattr(libc, "chroot", None)
    apart = chroot is not None and chroot(b".") == 0
    if apart:
        os.chdir("/")
    if root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    linux = sys.platform == "linux"
    if linux:
        libc.prctl(38, 1, 0, 0, 0)  # no new privileges
        libc.prctl(4, 0, 0, 0, 0)  # not to be traced
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # to end with the parent; a change of user forgets it
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    nothing = ("RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_NOFILE")
    for name, most in {"RLIMIT_CPU": cpu, "RLIMIT_AS": memory, **dict.fromkeys(nothing, 0)}.items():
        with contextlib.suppress(*((ValueError, OSError) if name == "RLIMIT_AS" and not linux else ())):
            resource.setrlimit(getattr(resource, name), (most, most))
    filtered = linux and filter_calls(libc)
    if not filtered and not (apart and (root or alone)):
        os._exit(UNLOCKED)
    _try_to_escape(parent)


def _try_to_escape(parent: int) -> None:
    """The limits that matter must hold for this process, or nothing runs."""
    attempts = [
        lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        lambda: os.open("/", os.O_RDONLY),
        os.pipe,
        _fork,
    ]
    if parent:  # not to be seen from a space of its own
        attempts.append(lambda: os.kill(parent, 0))
    for attempt in attempts:
        try:
            attempt()
        except (OSError, ValueError):
            continue
        os._exit(UNLOCKED)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def watch(event: str, _arguments: object) -> None:
    """Audit hook: whatever is not known to be harmless is refused."""
    if event not in HARMLESS:
        raise PermissionError(f"not allowed: {event}")


def given() -> dict:
    """Names that stand ready for a contest's program; none of Python's own is hidden by them."""
    space: dict = {}
    for name in GIVEN:
        exec(f"from {name} import *", space)
    space = {name: value for name, value in space.items() if not hasattr(builtins, name) and name != "__builtins__"}
    return space | {name: sys.modules[name] for name in (*GIVEN, *GIVEN_WHOLE)}


def calls(source: str, text: bool, named: str | None, names: dict):
    """The function that a source defines.

    It is what is named, of the program or its class Solution; else a program that reads and prints, an expression in x, or
    ``solve(x)``.
    """
    if text and named is None:
        code = compile(source, "<program>", "exec")
        return lambda x: printed(code, x, names)
    if named is None:
        with contextlib.suppress(SyntaxError):
            expression = compile(source.strip(), "<program>", "eval")
            return lambda x: eval(expression, {**names, "__name__": "program", "x": x})
    space: dict = {**names, "__name__": "program"}
    exec(compile(source, "<program>", "exec"), space)
    if named is None:
        return space["solve"]
    if "Solution" in space:  # a new one for each input, as on the contest's own site
        return lambda x: getattr(space["Solution"](), named)(*x)
    return lambda x: space[named](*x)


def stream(data: bytes = b"") -> io.TextIOWrapper:
    """A text stream in memory that has the buffer of bytes that fast programs use."""
    return io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogatepass", newline="\n", write_through=True)


def printed(code, text: str, names: dict) -> str:
    """What a program prints when it reads a text."""
    said, before = stream(), (sys.stdin, sys.stdout)
    sys.stdin, sys.stdout = stream(text.encode("utf-8", "surrogatepass")), said
    try:
        with contextlib.suppress(SystemExit):
            exec(code, {**names, "__name__": "__main__"})
    finally:
        sys.stdin, sys.stdout = before
    said.seek(0)
    return said.read()


def answer(request: dict, most: int) -> str:
    """The reply: outputs, or what went wrong."""
    inputs = request["inputs"]
    try:
        names = given() if request["names"] else {}
        function = calls(request["source"], all(isinstance(x, str) for x in inputs), request["function"], names)
        outputs = [function(x) for x in inputs]
        text = json.dumps({"outputs": outputs})
    except (SyntaxError, ValueError) as error:
        kind = "syntax" if isinstance(error, SyntaxError) else "error"
        return json.dumps({"kind": kind, "message": type(error).__name__})
    except MemoryError:
        return json.dumps({"kind": "limit", "message": "out of memory"})
    except PermissionError as error:
        return json.dumps({"kind": "forbidden", "message": str(error)[:200]})
    except OSError as error:
        return json.dumps({"kind": "forbidden", "message": f"the system refused: {error.strerror}"})
    except BaseException as error:
        return json.dumps({"kind": "error", "message": type(error).__name__})
    return text if len(text) <= most else json.dumps({"kind": "limit", "message": f"more than {most} bytes of output"})


def main() -> None:
    """Read the request, give up all rights, run the program, write the reply; the process ends here."""
    cpu, memory, seconds, most = map(int, sys.argv[1:])
    request = json.loads(sys.stdin.buffer.read())
    for name in (*LOADED, *GIVEN, *GIVEN_WHOLE):
        __import__(name)
    libc = ctypes.CDLL(None, use_errno=True)
    spaces = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS
    wanted = spaces if os.geteuid() == 0 else spaces | CLONE_NEWUSER
    alone = hasattr(libc, "unshare") and libc.unshare(wanted) == 0
    if alone:
        inner = os.fork()  # process 1 of a space where it sees no other
        if inner:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(inner, signal.SIGKILL))
            signal.alarm(seconds)
            status = os.waitpid(inner, 0)[1]
            os._exit(os.waitstatus_to_exitcode(status) % 256)
    reply = os.fdopen(os.dup(1), "w")
    lock(cpu, memory, alone)
    reply.write(LOCKED)
    reply.flush()
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()
    sys.setrecursionlimit(DEPTH_GIVEN if request["names"] else DEPTH)
    sys.addaudithook(watch)
    reply.write(answer(request, most))
    reply.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
