"""From a source to its table, exactly once. The only room that knows both sides.

A `Flow` polls one source, decodes its blocks to columns, keeps back what does not fit (quarantine) and what was
delivered before (keys, event ids), and commits table pointer, position, keys and ledger in one transaction. `app` runs
the flows. Not here: how sources are read, how tables are written, SQL.
"""

from mulgil.delivery import ledger, positions, quarantine
from mulgil.delivery.commit import Committer
from mulgil.delivery.declare import declare
from mulgil.delivery.flow import Flow
from mulgil.delivery.seen import Seen
from mulgil.delivery.settings import DeliverySettings, Target

__all__ = [
    "Committer",
    "DeliverySettings",
    "Flow",
    "Seen",
    "Target",
    "declare",
    "ledger",
    "positions",
    "quarantine",
]
