"""The one error that delivery raises to itself."""

from __future__ import annotations

from mulgil.errors import Conflict


class Outdated(Conflict):
    """The lake has changed since the records were decoded, and they do not fit it any more: decode them again."""
