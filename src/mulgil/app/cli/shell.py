"""The shell of `mulgil sql`: statements over several lines until `;`, history, completion, commands with a dot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer

from mulgil.app.cli.error_output import write_error
from mulgil.app.cli.sql_output import summary, write_result
from mulgil.app.cli.table_output import OutputFormat
from mulgil.app.cli.tables import columns
from mulgil.errors import Invalid, MulgilError

if TYPE_CHECKING:
    from mulgil.query import Engine

HISTORY = Path("~/.local/state/mulgil/sql_history")
"""With the user, not in the project: questions may hold what should not be shared with the folder."""
HELP = """\
End a statement with ; and press Enter. Ctrl-C clears the line or stops a query, Ctrl-D leaves.
  .tables [WORD]    tables whose name contains the word
  .schema TABLE     a table's columns with their types
  .format FORMAT    table, csv, json, ndjson
  .timing on|off    say what each statement took
  .help             this
  .quit             leave"""
_WORD = re.compile(r"[\w.]+")
_COMMANDS = (".tables", ".schema", ".format", ".timing", ".help", ".quit")
_KEYWORDS = re.findall(
    r"\w+",
    "SELECT FROM WHERE GROUP BY ORDER LIMIT HAVING JOIN LEFT USING WITH AS AND OR NOT IN IS NULL LIKE BETWEEN CASE WHEN"
    " THEN ELSE END DISTINCT COUNT SUM AVG MIN MAX UNION ALL DESCRIBE SUMMARIZE EXPLAIN SHOW TABLES PIVOT QUALIFY OVER"
    " PARTITION INTERVAL TIMESTAMP DATE VALUES EXCLUDE FOR VERSION OF",
)


class Shell:
    """Reads statements and writes answers until the user leaves."""

    def __init__(self, engine: Engine, output: OutputFormat = OutputFormat.TABLE) -> None:
        self._engine = engine
        self._output = output
        self._timing = True

    def run(self, **terminal: Any) -> None:
        """Returns when the user leaves. `terminal` goes to prompt_toolkit: `input` and `output` of a test."""
        session: PromptSession[str] = PromptSession(
            "mulgil> ",
            multiline=True,
            prompt_continuation="   ...> ",
            history=terminal.pop("history", None) or _history(),
            auto_suggest=AutoSuggestFromHistory(),
            completer=Words(self._engine),
            complete_while_typing=False,
            lexer=PygmentsLexer.from_filename("statement.sql"),
            key_bindings=_keys(),
            **terminal,
        )
        typer.secho("SQL over the lake; .help says more", dim=True, err=True)
        while True:
            try:
                text = session.prompt()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if not self.handle(text):
                return

    def handle(self, text: str) -> bool:
        """Do what was typed; False when the user wants to leave."""
        text = text.strip()
        if _leaves(text):
            return False
        try:
            if text.startswith("."):
                return self._command(*text.rstrip(";").split())
            if text.strip("; \n"):
                for result in self._engine.run_all(text):
                    with result:
                        write_result(result, self._output)
                        if self._timing:
                            typer.secho(summary(result), dim=True, err=True)
        except MulgilError as error:
            write_error(error)
        except KeyboardInterrupt:
            typer.secho("stopped", fg="yellow", err=True)
        return True

    def _command(self, word: str, *arguments: str) -> bool:
        match word, arguments:
            case ((".quit" | ".exit" | ".q"), ()):
                return False
            case ".help", ():
                typer.echo(HELP)
            case ".tables", ([] | [_]):
                contained = arguments[0].lower() if arguments else ""
                for name in self._engine.names():
                    if contained in name.lower():
                        typer.echo(name)
            case ".schema", [name]:
                for row in columns(self._engine, name).to_pylist():
                    typer.echo(f"{row['column']}  {row['type']}")
            case ".timing", [("on" | "off") as wanted]:
                self._timing = wanted == "on"
            case ".format", [wanted] if wanted in set(OutputFormat) - {OutputFormat.PARQUET}:
                self._output = OutputFormat(wanted)
            case _:
                raise Invalid(f"{' '.join((word, *arguments))} is not understood", hint=".help lists what is")
        return True


class Words(Completer):
    """Completes keywords, tables, and the columns of tables that the statement names already."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._columns: dict[str, list[str]] = {}

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What the word before the cursor may become."""
        word = document.get_word_before_cursor(pattern=_WORD)
        if document.text.lstrip().startswith(".") and " " not in document.text.strip():
            choices = list(_COMMANDS)
            word = document.text.lstrip()
        else:
            names = self._engine.names()
            choices = [*names, *(name.partition(".")[2] for name in names), *self._columns_in(document.text, names)]
            choices += _KEYWORDS if word.isupper() or not word else [one.lower() for one in _KEYWORDS]
        low = word.lower()
        for one in dict.fromkeys(choices):
            if one.lower().startswith(low) and one != word:
                yield Completion(one, start_position=-len(word))

    def _columns_in(self, text: str, names: list[str]) -> Iterator[str]:
        low = text.lower()
        for name in names:
            if name.partition(".")[2].lower() not in low:
                continue
            if name not in self._columns:
                try:
                    self._columns[name] = columns(self._engine, name).column("column").to_pylist()
                except MulgilError:
                    self._columns[name] = []  # a table that cannot be read has nothing to complete
            yield from self._columns[name]


def _leaves(text: str) -> bool:
    """What other shells take for a farewell."""
    return text.rstrip("; ").lower() in ("exit", "quit")


def _keys() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        text = buffer.text.strip()
        if not text or text.endswith(";") or text.startswith(".") or _leaves(text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return bindings


def _history() -> History:
    path = HISTORY.expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()  # a home that cannot be written: the history lasts for this time
    return FileHistory(str(path))
