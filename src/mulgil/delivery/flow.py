"""One source on its way to its table: poll, wait until it is worth a commit, deliver.

`app` gives every flow a thread and calls `step` again and again. A failed step keeps what it has polled; nothing is
asked of the source again unless the whole flow starts anew.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mulgil.catalog import Catalog
from mulgil.clock import Clock
from mulgil.delivery import keys, positions
from mulgil.delivery.commit import Committer, changes_of
from mulgil.delivery.outdated import Outdated
from mulgil.delivery.prepare import Preparation, Prepared
from mulgil.delivery.reading import Reading
from mulgil.delivery.seen import Hashes, Seen, hashed
from mulgil.delivery.settings import DeliverySettings, Target
from mulgil.errors import Conflict, MulgilError
from mulgil.record import Block, Source
from mulgil.state import Database, Fenced
from mulgil.telemetry import Log, Metrics

DAY_US = 86_400_000_000
ATTEMPTS = 5
"""So often are records decoded anew because another source has changed their table meanwhile."""
FORGET_EVERY_S = 60.0
TOLD_MAX = 1_000


class Flow:
    """One source, one table. `step` is called by one thread."""

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        catalog: Catalog,
        database: Database,
        committer: Committer,
        seen: Seen | None,
        settings: DeliverySettings,
        clock: Clock,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.source = source
        self.target = target
        self._catalog = catalog
        self._database = database
        self._committer = committer
        self._seen = seen
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._parts = positions.load(database, source.name)
        self._pending: list[Block] = []
        self._pending_bytes = 0
        self._pending_since_s = 0.0
        self._forget_at_s = 0.0
        self._told: set[str] = set()
        self.refused: MulgilError | None = None
        """Why the source could not begin where the state says; nothing is delivered then."""
        try:
            source.resume(positions.marks(self._parts))
        except MulgilError as error:  # the flows beside this one can do without it: `step` says so
            self.refused = error

    def step(self, *, flush: bool = False) -> bool:
        """Poll once, and deliver if it is time to (`flush`: in any case); whether anything was polled or delivered.

        Raises what the commit raises; the next call then tries again with the same blocks. Raises what the source
        raised when it was to resume.
        """
        if self.refused is not None:
            raise self.refused
        blocks: list[Block] = []
        if self._pending_bytes < self._settings.batch_bytes_max:
            blocks = self.source.poll(self._settings.batch_bytes_max - self._pending_bytes)
        if blocks:
            if not self._pending:
                self._pending_since_s = self._clock.monotonic_s()
            self._pending += blocks
            self._pending_bytes += sum(len(block.payload) for block in blocks)
        ready = bool(self._pending) and (flush or self._due())
        if ready:
            self._deliver()
        return bool(blocks) or ready

    def wait_s(self) -> float:
        """How long the flow may sleep when its source has nothing new, seconds."""
        pause = self._settings.visible_ms / 1000
        if not self._pending:
            return pause / 2
        return max(0.001, pause - (self._clock.monotonic_s() - self._pending_since_s))

    def places(self) -> dict[str, int]:
        """How far each part is in the lake."""
        return {name: part.place for name, part in self._parts.items()}

    def _due(self) -> bool:
        waited_s = self._clock.monotonic_s() - self._pending_since_s
        return self._pending_bytes >= self._settings.batch_bytes_max or waited_s * 1000 >= self._settings.visible_ms

    def _deliver(self) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._try_to_deliver()
            except Fenced:
                raise
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                break
        self._keep_house()

    def _try_to_deliver(self) -> None:
        began_s = self._clock.monotonic_s()
        name, target = self.source.name, self.target
        reading = Reading(self._catalog, target)
        preparation = Preparation(name, self._parts, lambda asked: keys.known(self._database, name, asked))
        preparation.add(self._pending)
        hashes: list[Hashes] = []
        prepared = preparation.finish(reading.decode, lambda rows: self._fresh(rows, hashes))
        if reading.fractions and self._committer.widen(target.table, reading.fractions, self._settings):
            raise Outdated(f"columns of {target.table} are doubles now: {', '.join(sorted(reading.fractions))}")
        changes = changes_of(prepared, target.table, target.partition, reading.time)
        gained = self._committer.commit(
            name, prepared, changes, target.table, self._seen, hashes[0] if hashes else None
        )
        self._parts.update(prepared.parts)
        marks = [block.mark for block in self._pending]
        marks += [block.stream_mark for block in self._pending if block.stream_mark is not None]
        self._pending, self._pending_bytes = [], 0
        self.source.committed(list({mark.part: mark for mark in marks}.values()))
        self._tell(prepared, gained, self._clock.monotonic_s() - began_s)

    def _fresh(self, rows: pa.Table, hashes: list[Hashes]) -> npt.NDArray[np.bool_] | None:
        """Which rows bring an event id that is new or none at all; the new ids' hashes go into the list."""
        column = self.target.event_id
        if self._seen is None or column is None or column not in rows.column_names:
            return None
        found, valid = hashed(rows.column(column).combine_chunks())
        mask = np.ones(rows.num_rows, dtype=bool)
        mask[valid] = self._seen.fresh(found[valid])
        hashes.append(found[valid & mask])
        return mask

    def _tell(self, prepared: Prepared, gained: list[str], took_s: float) -> None:
        name, table = self.source.name, self.target.table
        for entry in prepared.entries.values():
            self._metrics.count("mulgil_delivered_rows_total", entry.rows_out, name, table)
            self._metrics.count("mulgil_quarantined_records_total", entry.quarantined, name, table)
            self._metrics.count("mulgil_deduplicated_records_total", entry.deduplicated, name)
            self._metrics.count("mulgil_unreadable_bytes_total", entry.bytes_unreadable, name)
            if entry.bytes_unreadable:
                self._log.warning("bytes_unreadable", source=name, bytes=entry.bytes_unreadable)
        if prepared.rows is not None:
            self._metrics.count("mulgil_commits_total", 1, table, "append")
            self._metrics.observe("mulgil_commit_seconds", took_s, table)
        for event in (*gained, *prepared.notices):
            if event not in self._told and len(self._told) < TOLD_MAX:  # a conflict comes again with every commit
                self._told.add(event)
                self._log.info("schema_event", table=table, source=name, change=event)

    def _keep_house(self) -> None:
        """Forget what is old. Nothing here has to succeed now."""
        now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
        if now_s >= self._forget_at_s:
            all_gone = keys.forget(self._database, self.source.name, now_us - self.target.remember_days * DAY_US)
            self._forget_at_s = now_s + (FORGET_EVERY_S if all_gone else 0.0)
        if self._seen is not None:
            self._seen.tidy(now_us)
