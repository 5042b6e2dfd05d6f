"""`mulgil run` as a process of its own, as any user starts it; and its sudden end, on purpose.

Called by `demo.py`. What the process says goes to `run.log` in the demo's folder.
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

from mulgil.clock import Clock
from mulgil.errors import Broken

READY_S_MAX = 60.0
STOP_S_MAX = 60.0
LINES_SHOWN = 12
STARTED = b'"event": "started"'


class Server:
    """One project's server. Started, killed and started again as often as one likes."""

    def __init__(self, folder: Path, host: str, port: int, clock: Clock) -> None:
        self._folder = folder
        self._address = (host, port)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "run.log"
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Of the process; 0 where there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mulgil", "run", "--project", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the demo, which then stops the server in good order
            )

    def check(self) -> None:
        """Raises `Broken` with its last words when it has ended by itself."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise Broken(
                f"`mulgil run` has ended by itself with status {status}; its last words:\n{self._last_words()}",
                where=str(self.log),
            )

    def wait_ready(self) -> None:
        """Until it answers. Raises `Broken` when it ends before, or does not come."""
        until_s = self._clock.monotonic_s() + READY_S_MAX
        never = threading.Event()
        while not self.answers():
            self.check()
            if self._clock.monotonic_s() > until_s:
                raise Broken(f"`mulgil run` does not answer:\n{self._last_words()}", where=str(self.log))
            self._clock.wait(never, 0.03)
        self.check()

    def answers(self) -> bool:
        """Whether it is up. Raises `Broken` when a source has stopped."""
        if STARTED not in self._said():  # whoever answers until then is another one, on the same port by mistake
            return False
        connection = http.client.HTTPConnection(*self._address, timeout=2.0)
        try:
            connection.request("GET", "/healthz")
            found = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        for name, one in found["sources"].items():
            if not one["up"]:
                raise Broken(
                    f"source {name} has stopped: {one.get('error')}\n{self._last_words()}", where=str(self.log)
                )
        return True

    def kill(self) -> None:
        """SIGKILL: it has no chance to do anything any more, as when the machine loses power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait until it has delivered what is acknowledged. Raises `Broken` when it ends in a bad way."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            status = process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            raise Broken(f"`mulgil run` did not stop:\n{self._last_words()}", where=str(self.log)) from None
        finally:
            process.kill()  # also when Ctrl-C is pressed once more; nothing where it has ended
            process.wait()
        if status not in (0, -signal.SIGTERM):  # the latter while it was still starting
            raise Broken(f"`mulgil run` stopped with status {status}:\n{self._last_words()}", where=str(self.log))

    def _said(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()

    def _last_words(self) -> str:
        lines = self._said().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LINES_SHOWN:]) or "  (nothing)"
