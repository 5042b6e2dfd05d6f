"""A mistake in a project file, and the error that carries all of them at once.

Written the way compilers do, so that editors jump to the place: `mulgil.yaml:7:12  sources.access.format: …; …`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mulgil.errors import Invalid


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a file."""

    file: str
    """Path of the file, as an operator would type it."""
    line: int
    """Counted from 1."""
    column: int
    """Counted from 1."""
    key: str
    """The setting, written `sources.access.format`; empty: the file as a whole."""
    what: str
    """What is wrong. Never holds a value that came from the environment."""
    cure: str
    """What would be right; may be empty."""

    def __str__(self) -> str:
        text = f"{self.key}: {self.what}" if self.key else self.what
        text = f"{text}; {self.cure}" if self.cure else text
        return f"{self.file}:{self.line}:{self.column}  {text}"


class ProjectInvalid(Invalid):
    """The project file cannot be used. Holds every mistake found, in the order of the file."""

    def __init__(self, file: str, mistakes: Sequence[Mistake]) -> None:
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(f"{file} has {count}")
        self.mistakes = tuple(sorted(mistakes, key=lambda one: (one.line, one.column)))

    def __str__(self) -> str:
        return "\n".join([f"{self.what}:", *(f"  {mistake}" for mistake in self.mistakes)])
