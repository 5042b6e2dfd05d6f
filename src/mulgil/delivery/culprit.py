"""A record that no decoder foresaw is found and kept back, so that it does not stop its source for good.

Decoders name bad records themselves. This is for faults of ours: an exception that belongs to one record would come
again at every restart, since the record is polled again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from mulgil.delivery.decode import Decoded
from mulgil.errors import MulgilError
from mulgil.record import Bad, Records

CULPRITS_MAX = 100
"""More than these in one delivery are no culprits: the fault is elsewhere, and the flow stops with it."""

REASON_CHARACTERS_MAX = 300

Cut = Callable[[Records, int, int], Records]
"""Some of the records, from a first to before a last, in a buffer that holds no others."""


def decode_around(decode: Callable[[Records], Decoded], records: Records, cut: Cut) -> Decoded:
    """Decode all records but those that make the decoder fail, which are found by halving.

    Raises what the decoder raises on purpose (a `MulgilError`), and the fault itself where it is everywhere.
    """
    try:
        return decode(records)
    except MulgilError:
        raise
    except Exception as error:  # noqa: BLE001 (a fault with one record must not stop its source at every start)
        return _Search(decode, cut).halves(records, error)


class _Search:
    def __init__(self, decode: Callable[[Records], Decoded], cut: Cut) -> None:
        self._decode = decode
        self._cut = cut
        self._found = 0

    def halves(self, records: Records, error: Exception) -> Decoded:
        if len(records) == 1:
            self._found += 1
            if self._found > CULPRITS_MAX:
                raise error
            reason = f"a fault of mulgil, {type(error).__name__}: {error}"[:REASON_CHARACTERS_MAX]
            return Decoded(pa.table({}), np.zeros(0, dtype=np.int64), [Bad(0, reason)], 0, [])
        middle = len(records) // 2
        first = self._part(self._cut(records, 0, middle))
        second = self._part(self._cut(records, middle, len(records)))
        tables = [one.rows for one in (first, second) if len(one.index)]
        return Decoded(
            pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({}),
            np.concatenate((first.index, second.index + middle)),
            [*first.bad, *(Bad(bad.index + middle, bad.reason) for bad in second.bad)],
            first.rescued + second.rescued,
            [*first.events, *second.events],
        )

    def _part(self, records: Records) -> Decoded:
        try:
            return self._decode(records)
        except MulgilError:
            raise
        except Exception as error:  # noqa: BLE001 (as above)
            return self.halves(records, error)
