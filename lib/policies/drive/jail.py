"""Runs one untrusted program in a process that has given up all that it could do harm with; started by `sandbox` only.

    python -I -S jail.py SECONDS_CPU BYTES_MEMORY SECONDS BYTES_OUTPUT  < request.json  > reply.json

The request holds the source and the inputs. Before the source is compiled, the process leaves its namespaces (network,
processes, mounts) where the system lets it, locks itself into its own empty directory, gives up root and every capability, and
sets limits that it cannot lift: no new file, socket or pipe, no new process or thread, no bytes written to files, bounded
memory and processor time. It then tries to lift them; if that works, it refuses to run anything. An audit hook refuses
whatever is left, such as signals to other processes.
"""

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
#: Modules that a program may import: those that are loaded before the lock.
LOADED = (
    "array", "bisect", "collections", "copy", "dataclasses", "decimal", "fractions", "functools", "heapq", "itertools", "math",
    "operator", "random", "re", "statistics", "string", "typing",
)  # fmt: skip
#: All that the audit hook lets pass.
HARMLESS = {
    "builtins.id", "builtins.input", "builtins.input/result", "code.__new__", "compile", "exec", "function.__new__", "import",
    "marshal.dumps", "marshal.loads", "object.__delattr__", "object.__getattr__", "object.__setattr__", "sys._getframe",
    "sys.excepthook", "sys.unraisablehook",
}  # fmt: skip


def lock(cpu: int, memory: int) -> None:
    """Give up what a program does not need, for good; the process ends where that does not work."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.geteuid() == 0
    if not root and hasattr(libc, "unshare"):
        libc.unshare(CLONE_NEWUSER)
    chroot = getattr(libc, "chroot", None)
    if chroot is not None and chroot(b".") == 0:
        os.chdir("/")
    if root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    if sys.platform == "linux":
        libc.prctl(38, 1, 0, 0, 0)  # no new privileges
        libc.prctl(4, 0, 0, 0, 0)  # not to be traced
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    nothing = ("RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_NOFILE")
    for name, most in {"RLIMIT_CPU": cpu, "RLIMIT_AS": memory, **dict.fromkeys(nothing, 0)}.items():
        with contextlib.suppress(*((ValueError, OSError) if name == "RLIMIT_AS" and sys.platform == "darwin" else ())):
            resource.setrlimit(getattr(resource, name), (most, most))
    _try_to_escape()


def _try_to_escape() -> None:
    """The limits that matter must hold for this process, or nothing runs."""
    for attempt in (
        lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        lambda: os.open("/", os.O_RDONLY),
        os.pipe,
        _fork,
    ):
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


def calls(source: str, text: bool):
    """The function that a source defines: a program that reads and prints, an expression in x, or ``solve(x)``."""
    if text:
        code = compile(source, "<program>", "exec")
        return lambda x: printed(code, x)
    with contextlib.suppress(SyntaxError):
        expression = compile(source.strip(), "<program>", "eval")
        return lambda x: eval(expression, {"__name__": "program", "x": x})
    space: dict = {"__name__": "program"}
    exec(compile(source, "<program>", "exec"), space)
    return space["solve"]


def printed(code, text: str) -> str:
    """What a program prints when it reads a text."""
    said, before = io.StringIO(), (sys.stdin, sys.stdout)
    sys.stdin, sys.stdout = io.StringIO(text), said
    try:
        with contextlib.suppress(SystemExit):
            exec(code, {"__name__": "__main__"})
    finally:
        sys.stdin, sys.stdout = before
    return said.getvalue()


def answer(source: str, inputs: list, most: int) -> str:
    """The reply: outputs, or what went wrong."""
    try:
        function = calls(source, all(isinstance(x, str) for x in inputs))
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
    cpu, memory, seconds, most = map(int, sys.argv[1:])
    request = json.loads(sys.stdin.buffer.read())
    for name in LOADED:
        __import__(name)
    libc = ctypes.CDLL(None, use_errno=True)
    spaces = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS
    if hasattr(libc, "unshare") and libc.unshare(spaces if os.geteuid() == 0 else spaces | CLONE_NEWUSER) == 0:
        inner = os.fork()  # process 1 of a space where it sees no other
        if inner:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(inner, signal.SIGKILL))
            signal.alarm(seconds)
            status = os.waitpid(inner, 0)[1]
            os._exit(os.waitstatus_to_exitcode(status) % 256)
        if sys.platform == "linux":
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # end with the parent
    reply = os.fdopen(os.dup(1), "w")
    lock(cpu, memory)
    reply.write(LOCKED)
    reply.flush()
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()
    sys.setrecursionlimit(2000)
    sys.addaudithook(watch)
    reply.write(answer(request["source"], request["inputs"], most))
    reply.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
