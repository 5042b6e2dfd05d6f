"""`mulgil init DIR`: a new project, ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulgil.app.cli.command import Command
from mulgil.errors import Invalid

PROJECT_TEXT = """\
# yaml-language-server: $schema=https://raw.githubusercontent.com/mulgil/mulgil/main/docs/mulgil.schema.json
# Everything that this project is. `mulgil check` explains every mistake in it; only `sources` is required.

# lake: ./lake               # where tables' files live
# state: ./state.db          # facts that must change together: positions, table pointers, the ledger
# stream: ./stream           # keeps what cannot be asked for again: HTTP requests, what agents send
# listen: 127.0.0.1:7410     # any other address than loopback asks for keys
# delivery: {visible_ms: 500, file_mb: 128}   # how fresh queries are, how large files grow: two things

sources:
  # Events: POST http://127.0.0.1:7410/v1/web with a JSON object, an array, or one object a line.
  web:
    type: http
    table: bronze.web
    # time: event_time                      # the column that says when it happened; otherwise found by itself
    # cors: [https://www.example.com]       # pages that may post from a browser
    # event_id: event_id                    # an event that is sent twice lands once

  # Log files, followed while they grow and rotate.
  access:
    type: files
    path: ./logs/access.log*                # nginx: /var/log/nginx/access.log*
    format: combined                        # json, csv, tsv, combined, common, nginx_error, apache_error, alb, raw,
                                            # or {kind: regex, pattern: '(?P<time>\\S+) (?P<text>.*)'}
    table: bronze.access
"""

GITIGNORE_TEXT = """\
/lake/
/stream/
/state.db*
"""

README_TEXT = """\
# A Mulgil project

`mulgil.yaml` declares where data comes from and which tables it lands in.

    mulgil check                                    # is it right?
    mulgil run                                      # take in what comes, until Ctrl-C
    curl -d '{"event": "view", "page": "/"}' localhost:7410/v1/web    # in another terminal
    mulgil sql 'SELECT * FROM bronze.web'
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new project's folder; made when it is missing.")],
) -> None:
    """Make a project: a commented mulgil.yaml with an HTTP and a files source. Nothing is ever overwritten."""
    file = folder / "mulgil.yaml"
    if file.exists():
        raise Invalid("there is a project already", where=str(file), hint="choose another folder, or edit this one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("mulgil.yaml", PROJECT_TEXT), (".gitignore", GITIGNORE_TEXT), ("README.md", README_TEXT)):
            if not (folder / name).exists():
                (folder / name).write_text(text, encoding="utf-8")
                typer.echo(f"made {folder / name}")
    except OSError as error:
        raise Invalid(f"the project cannot be written: {error.strerror}", where=str(folder)) from error
    typer.echo(f"next: edit {file}, then `cd {folder}` and `mulgil check`, `mulgil run`")


COMMAND = Command(
    init,
    panel="Set up",
    examples=(("mulgil init clinic", "a project in a new folder"), ("mulgil init .", "one in the current folder")),
)
