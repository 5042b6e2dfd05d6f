"""The HTTP door: what is posted here is in the stream, on the disk, before the answer says 202.

`app` builds a `Door` with one stream for each source and runs it in a `Server`. Not here: tables, SQL, who may hold
which key (a `KeyCheck` is handed in).
"""

from mulgil.sources.collector.body import Body, read_events
from mulgil.sources.collector.door import Door, KeyCheck
from mulgil.sources.collector.measurement import read_measurement
from mulgil.sources.collector.receipts import Receipts
from mulgil.sources.collector.server import Server
from mulgil.sources.collector.settings import CollectorSettings, EndpointSettings, is_loopback

__all__ = [
    "Body",
    "CollectorSettings",
    "Door",
    "EndpointSettings",
    "KeyCheck",
    "Receipts",
    "Server",
    "is_loopback",
    "read_events",
    "read_measurement",
]
