"""Group commit: what waits while the disk is busy becomes the next group, and one sync answers all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from mulgil.errors import Broken, MulgilError, Overloaded, Retry
from mulgil.stream.frame import Run
from mulgil.stream.shard import Shard
from mulgil.stream.stream import Answer, Done, Notify

_RUN_BYTES = 256  # what an append costs in memory besides its payload


class GroupCommit:
    """The one thread that commits to a shard. There is no delay: an append that comes alone is synced alone."""

    def __init__(self, shard: Shard, waiting_bytes_max: int) -> None:
        self._shard = shard
        self._waiting_bytes_max = waiting_bytes_max
        self._lock = threading.Lock()
        self._wake = threading.Lock()  # held while the thread has nothing to wake up for
        self._wake.acquire()
        self._asleep = False
        self._waiting: list[Run] = []
        self._waiting_bytes = 0
        self._refusal: Callable[[], MulgilError] | None = None
        self._thread = threading.Thread(target=self._run, name=f"stream-shard-{shard.number}", daemon=True)
        self._thread.start()

    def submit(self, run: Run) -> None:
        """Hand in an append. Raises `Overloaded`, `Retry` or `Broken`, as `Stream.append`."""
        if self._shard.full and not self._shard.has_room():
            raise Overloaded("the disk is nearly full", where="stream", hint="free some disk space", after_s=5.0)
        size = len(run.payload) + len(run.meta) + _RUN_BYTES
        with self._lock:
            if self._refusal is not None:
                raise self._refusal()
            waiting = self._waiting_bytes + size
            if waiting > self._waiting_bytes_max and self._waiting_bytes:
                raise Overloaded(f"{self._waiting_bytes} bytes wait for the disk", where="stream", after_s=0.5)
            self._waiting_bytes = waiting
            self._waiting.append(run)
            wake, self._asleep = self._asleep, False
        if wake:
            self._wake.release()

    def close(self) -> None:
        """Commit and answer what waits, and take no more."""
        with self._lock:
            self._refusal = self._refusal or _closed
            wake, self._asleep = self._asleep, False
        if wake:
            self._wake.release()
        self._thread.join()

    def _run(self) -> None:
        runs: Sequence[Run] = []
        try:
            while runs := self._take():
                for committed, answers in self._shard.commit(runs):
                    runs = runs[len(committed) :]
                    answer_all(committed, answers)
                    size = sum([len(run.payload) + len(run.meta) + _RUN_BYTES for run in committed])
                    with self._lock:
                        self._waiting_bytes -= size
        finally:
            with self._lock:
                left, self._waiting = [*runs, *self._waiting], []
                if self._refusal is None:  # the loop ends by itself only when closed: something was raised
                    self._refusal = _stopped
            if left:
                answer_all(left, [_stopped()] * len(left))

    def _take(self) -> list[Run]:
        """Everything that waits; waits for something; nothing when closed."""
        while True:
            with self._lock:
                if self._waiting or self._refusal is not None:
                    runs, self._waiting = self._waiting, []
                    return runs
                self._asleep = True
            self._shard.mark_tail()
            self._wake.acquire()


def answer_all(runs: Sequence[Run], answers: Sequence[Answer]) -> None:
    """Call back every producer: one by one, or once per group where it asked for that."""
    groups: dict[Notify, list[tuple[Done, Answer]]] = {}
    for run, answer in zip(runs, answers, strict=True):
        if run.notify is None:
            run.done(answer)
        else:
            groups.setdefault(run.notify, []).append((run.done, answer))
    for notify, group in groups.items():
        with suppress(RuntimeError):  # a closed event loop: nobody waits for the answers any more
            notify(group)


def _closed() -> MulgilError:
    return Retry("the stream is closed", where="stream")


def _stopped() -> MulgilError:
    return Broken("the shard has stopped", where="stream", hint="its thread's traceback says why; start again")
