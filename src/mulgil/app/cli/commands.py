"""The list of all commands, in the order in which the help shows them."""

from __future__ import annotations

from mulgil.app.cli import (
    agent,
    bench,
    chaos,
    check,
    demo,
    init,
    key,
    ledger,
    quarantine,
    run,
    schema,
    send,
    sql,
    status,
    tables,
    version,
)
from mulgil.app.cli.command import Command, Group

COMMANDS: tuple[Command | Group, ...] = (
    init.COMMAND,
    check.COMMAND,
    schema.COMMAND,
    key.GROUP,
    run.COMMAND,
    demo.COMMAND,
    send.COMMAND,
    agent.COMMAND,
    sql.COMMAND,
    tables.COMMAND,
    status.COMMAND,
    ledger.COMMAND,
    quarantine.GROUP,
    bench.COMMAND,
    chaos.COMMAND,
    version.COMMAND,
)
