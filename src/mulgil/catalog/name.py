"""What a table may be called: `database.table`, in words that every SQL engine takes without quotes."""

from __future__ import annotations

import re

from mulgil.errors import Invalid

QUARANTINE_SUFFIX = "__quarantine"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,126}\.[a-z][a-z0-9_]{0,126}\Z")


def checked_name(name: str) -> str:
    """The name itself, or `Invalid` saying what would be right."""
    if not _NAME.match(name):
        raise Invalid(
            f"{name!r} is not a table name",
            hint="write database.table in small letters, digits and underscores, such as bronze.web",
        )
    return name


def quarantine_of(name: str) -> str:
    """The table that keeps what could not be delivered into `name`."""
    return name + QUARANTINE_SUFFIX
