"""The one transactional database: facts that must change together lie here.

Catalog (table pointers) and delivery (positions, keys, ledger) declare their own tables and put their changes into one
`Transaction`. Nothing here knows what those facts mean. Not here: files, records, settings.
"""

from mulgil.state.database import Database, Transaction
from mulgil.state.epoch import Epoch, Fenced
from mulgil.state.keyring import ApiKey, KeyRing

__all__ = ["ApiKey", "Database", "Epoch", "Fenced", "KeyRing", "Transaction"]
