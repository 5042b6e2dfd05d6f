"""DuckDB's errors in the house's words: what is wrong, where in the text, and nothing of how tables are put before it.

An error that shows itself while rows are read comes through Arrow as an OSError with the same text, so kinds are told
by how the text begins. `engine.py` and its neighbours call this.
"""

from __future__ import annotations

import re

from mulgil.errors import Broken, Invalid, Missing, MulgilError, Overloaded, Retry

_KIND = re.compile(r"\A((?:[A-Za-z][\w-]* )+)Error: ")
_EXCERPT = re.compile(r"\n+LINE (\d+): (.*)\n( *)\^+\s*\Z", re.DOTALL)
_SCRATCH = re.compile(r"\blake_\d+\.")
_EXTENSION = re.compile(r"requires the extension (\w+) to be loaded")
_QUOTED = re.compile(r'"([^"\n]+)"')


def told(error: Exception) -> MulgilError:
    """The error to raise in its place."""
    text = _SCRATCH.sub("", str(error)).strip()
    found = _KIND.match(text)
    kind = found[1].strip().upper() if found else ""
    what = text[found.end() :] if found else text
    if kind == "INTERRUPT":
        return Retry("the query was cancelled")
    if kind in ("INTERNAL", "FATAL"):
        return Broken(f"the SQL engine broke down: {what.splitlines()[0]}", hint="please report the query")
    if kind == "OUT OF MEMORY":
        return Overloaded(
            f"the query needs more memory than there is: {what.splitlines()[0]}",
            hint="ask for fewer columns or days, or allow more: `limits.memory_mb` in mulgil.yaml",
        )
    if extension := _EXTENSION.search(what):
        return Invalid(
            f"this needs DuckDB's extension {extension[1]}, and extensions are not loaded",
            hint="nothing is fetched from the network: put the file on this machine",
        )
    where = ""
    if excerpt := _EXCERPT.search(what):
        number, line, indent = excerpt.groups()
        column = len(indent) - len(f"LINE {number}: ")
        where = f"line {number}" if line.startswith("...") else f"line {number}, column {column + 1}"
        what = f"{what[: excerpt.start()]}\n\n  {line}\n  {' ' * column}^"
    if kind == "PERMISSION":
        return Invalid("SQL may only read the lake's tables here, no other files", where=where)
    return Missing(what, where=where) if kind == "IO" else Invalid(what, where=where)


def broke_down(error: Exception) -> bool:
    """Whether the engine is of no use any more."""
    return str(error).startswith(("INTERNAL Error", "FATAL Error"))


def vanished(error: Exception, files: frozenset[str]) -> str:
    """The planned file that is no longer there, when that is the reason; else empty."""
    text = str(error)
    return next((name for name in _QUOTED.findall(text) if name in files), "") if text.startswith("IO Error") else ""
