"""Where runs are performed: processes on this machine, or the workers of an existing Dask cluster."""

from __future__ import annotations

import logging
import queue
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lib import execute

#: Seconds to wait for a Dask scheduler, and for its first worker.
PATIENCE_S = 10
_POLL_S = 0.2

#: How to send a call, whether who performs it is still there, and how to end what is in flight.
_Place = tuple[Callable[..., Any], Callable[[], bool], Callable[[], None]]


@dataclass
class Workers:
    """Local processes, or the workers of a Dask cluster; `stop` ends what is in flight.

    Parameters
    ----------
    jobs : int
        How many run at a time on this machine.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers are then used.
    """

    jobs: int = 2
    scheduler: str | None = None
    stopped: int = 0

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs}")

    def stop(self, signum: int, _frame: Any = None) -> None:
        """A signal's handler: what is in flight is killed, what has ended is still handed out; at the second call, raises."""
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = signum

    def outcomes(self, perform: Callable[..., Any], calls: list[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """The number of each call with its result or the exception it ended in, as they end; none for what was stopped.

        Parameters
        ----------
        perform : callable
            A function that can be imported; called with a call's arguments and ``token=...``, which it gives to
            `lib.execute.run_chapter`.
        calls : list of tuple
            The arguments of each call.

        Raises
        ------
        ValueError
            If no scheduler answers, it has no worker, or it goes away.
        """
        if not calls:
            return
        token = uuid.uuid4().hex
        ended: queue.Queue[tuple[int, Any]] = queue.Queue()
        submit, alive, end = self._on_cluster(token) if self.scheduler else self._here(token)
        try:
            for number, call in enumerate(calls):
                future = submit(perform, *call, token=token)
                future.add_done_callback(lambda done, number=number: ended.put((number, done)))
            waiting = len(calls)
            while waiting:
                try:
                    number, future = ended.get(timeout=_POLL_S)
                except queue.Empty:
                    if self.stopped and self.scheduler:
                        return  # a cluster need not answer
                    if self.stopped:
                        end()
                    if not alive():
                        raise ValueError(f"the Dask scheduler {self.scheduler} is gone; what ended before is kept") from None
                    continue
                waiting -= 1
                try:
                    outcome: Any = future.result()
                except Exception as error:
                    if isinstance(error, execute.Stopped) or self.stopped:
                        continue
                    outcome = error
                yield number, outcome
        finally:
            end()

    def _here(self, token: str) -> _Place:
        pool = ThreadPoolExecutor(self.jobs)  # threads that wait for processes

        def end() -> None:
            execute.stop(token)
            pool.shutdown(wait=False, cancel_futures=True)

        return pool.submit, lambda: True, end

    def _on_cluster(self, token: str) -> _Place:
        try:
            from distributed import Client
            from distributed.comm import resolve_address
        except ImportError:
            raise ValueError("a scheduler needs the package distributed: pip install 'optimization-executed[sweep]'") from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            client = Client(resolve_address(self.scheduler or ""), timeout=PATIENCE_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"no Dask scheduler answers at {self.scheduler} ({type(error).__name__})") from None
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except (OSError, ValueError):
            client.close()
            raise ValueError(f"the Dask scheduler {self.scheduler} has no worker") from None
        sent: list[Any] = []

        def submit(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            # A worker that dies takes nothing with it but its own call: the scheduler starts that again elsewhere.
            name = f"{token}-{len(sent)}"
            sent.append(client.submit(function, *arguments, **options, key=name, pure=False))
            return sent[-1]

        def end() -> None:
            with suppress(Exception):
                if client.status == "running" and (pending := [future for future in sent if not future.done()]):
                    client.cancel(pending)
                    client.run(execute.stop, token)
            client.close(timeout=2)

        return submit, lambda: client.status in ("running", "connecting"), end
