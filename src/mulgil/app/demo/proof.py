"""Compares what the site handed over with what the lake holds. Called by `demo.py` when everything has come to rest."""

from __future__ import annotations

from dataclasses import dataclass

from mulgil.app.demo.poster import Posted
from mulgil.app.demo.site import Site
from mulgil.app.demo.watch import Seen
from mulgil.query import Engine


@dataclass(frozen=True, slots=True)
class Claim:
    """Two counts that must be one: what was handed over, and what is there."""

    what: str
    handed_over: int
    where: str
    there: int

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing doubled."""
        return self.handed_over == self.there


def claims(run: int, site: Site, posted: Posted, engine: Engine, before: Seen, now: Seen) -> list[Claim]:
    """Of this run alone; `before` is the lake as the run found it."""
    events = engine.run(
        "SELECT count(*) AS rows, count(DISTINCT event_id) AS ids, count(_rescued) AS rescued"
        f" FROM bronze.web WHERE event_id LIKE '{run}-%'"
    )
    found = events.arrow().to_pylist()[0]
    lines = engine.run("SELECT count(*) AS rows, count(DISTINCT _position) AS places FROM bronze.access")
    access = lines.arrow().to_pylist()[0]
    quarantined = now.quarantined["access"] - before.quarantined["access"]
    rows = access["rows"] - before.tables["access"].rows
    odd = site.oddities
    return [
        Claim("events made", site.events, "acknowledged", posted.acknowledged - posted.copies),
        Claim("events acknowledged", posted.acknowledged - posted.copies, "rows in bronze.web", found["rows"]),
        Claim("", found["rows"], "different event_ids there", found["ids"]),
        Claim("lines written to the log", site.lines, "rows and quarantined", rows + quarantined),
        Claim("", rows, "different places in files", access["places"] - before.tables["access"].rows),
        Claim("lines that are no log lines", odd.broken_lines, "records quarantined", quarantined),
        Claim("prices that are no number", odd.conflicts, "rows with _rescued", found["rescued"]),
    ]
