"""The five questions, asked of the lake as anybody would ask them: SQL from the files in the demo's folder.

Called by `demo.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mulgil.errors import Invalid
from mulgil.query import Engine


@dataclass(frozen=True, slots=True)
class Answer:
    """A question with its answer."""

    file: Path
    title: str
    """The comment at the file's head."""
    sql: str
    """The rest of it."""
    rows: pa.Table
    seconds: float


def answers(engine: Engine, folder: Path) -> Iterator[Answer]:
    """Every `*.sql` of the folder in the order of the names. Raises what the engine raises, naming the file."""
    for file in sorted(folder.glob("*.sql")):
        lines = file.read_text(encoding="utf-8").strip().splitlines()
        said = 0
        while said < len(lines) and lines[said].startswith("--"):
            said += 1
        title, sql = " ".join(line.lstrip("- ") for line in lines[:said]), "\n".join(lines[said:])
        try:
            with engine.run(sql) as result:
                rows = result.arrow()
                yield Answer(file, title, sql, rows, result.elapsed_s)
        except Invalid as error:
            raise Invalid(error.what, where=f"{file} {error.where}".strip(), hint=error.hint) from error
