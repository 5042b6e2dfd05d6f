"""The durable log that makes what cannot be asked for again, an HTTP request or an agent's bytes, readable again.

The collector appends and is answered after the sync; delivery reads from a position and checkpoints. Not here: what
the bytes mean, idempotency, tables.
"""

from mulgil.stream.log import EmbeddedStream
from mulgil.stream.memory import MemoryStream
from mulgil.stream.settings import PAYLOAD_BYTES_MAX, StreamSettings
from mulgil.stream.stream import Answer, Appended, Done, Entry, Frame, Gap, Notify, Stream

__all__ = [
    "PAYLOAD_BYTES_MAX",
    "Answer",
    "Appended",
    "Done",
    "EmbeddedStream",
    "Entry",
    "Frame",
    "Gap",
    "MemoryStream",
    "Notify",
    "Stream",
    "StreamSettings",
]
