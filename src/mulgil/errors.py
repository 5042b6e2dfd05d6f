"""Errors, named by what the caller does next. Every room raises these and no others across its door.

MulgilError
├── Retry        transient: wait, then the same again
├── Overloaded   slow down: stop reading, keep what is held
├── Invalid      this record, request or setting is wrong: quarantine or refuse it
├── Conflict     somebody else won: load afresh, do it again
├── Missing      no such named thing: stop this flow, tell the operator
└── Broken       our own state is wrong: stop the component, keep the evidence
"""

from __future__ import annotations


class MulgilError(Exception):
    """What went wrong, where, and what the operator can do about it."""

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class Retry(MulgilError):
    """Transient. Wait and hand in the same data again."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", after_s: float = 1.0) -> None:
        super().__init__(what, where=where, hint=hint)
        self.after_s = after_s


class Overloaded(MulgilError):
    """The component is full. Stop sending for `after_s` seconds and keep what you have."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", after_s: float = 1.0) -> None:
        super().__init__(what, where=where, hint=hint)
        self.after_s = after_s


class Invalid(MulgilError):
    """This record, request or setting is wrong and will stay wrong."""


class Conflict(MulgilError):
    """Somebody else changed what this change was built on."""


class Missing(MulgilError):
    """No such named thing."""


class Broken(MulgilError):
    """Our own state contradicts itself. Nothing is deleted, so that it can be looked at."""
