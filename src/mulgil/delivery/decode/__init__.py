"""Bytes of records to Arrow columns, vectorised; one bad record never fails its block.

Called by delivery's flow: `decoder` makes one for a format and a table's columns, `decode` answers `Decoded`. Not here:
what a record's position is, how a table evolves, where bad records are kept.
"""

from mulgil.delivery.decode.decoded import Decoded, Decoder, EventKind, SchemaEvent
from mulgil.delivery.decode.decoder import decoder
from mulgil.delivery.decode.times import find_time

__all__ = ["Decoded", "Decoder", "EventKind", "SchemaEvent", "decoder", "find_time"]
