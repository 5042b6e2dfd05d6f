"""The list of all commands, in the order in which the help shows them."""

from __future__ import annotations

from mulgil.app.cli import check, init, schema, version
from mulgil.app.cli.command import Command, Group

COMMANDS: tuple[Command | Group, ...] = (
    init.COMMAND,
    check.COMMAND,
    schema.COMMAND,
    version.COMMAND,
)
