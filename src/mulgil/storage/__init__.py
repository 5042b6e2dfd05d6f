"""Files and objects: where the lake's bytes lie.

The table, the stream and the agent call it through `Store`. A path is an absolute local path or a URL. Not here: what
the bytes mean, and which of them are still needed.
"""

from mulgil.storage.local import LocalStore
from mulgil.storage.memory import MemoryStore
from mulgil.storage.store import Data, Store

__all__ = ["Data", "LocalStore", "MemoryStore", "Store"]
