"""The command line: what a person types.

`frame.py` makes the program out of `commands.py`, the list of all commands; each command is one file. Whoever adds one
writes its file and adds its line to the list. Called by the `mulgil` script and `python -m mulgil`.
"""

from mulgil.app.cli.frame import main

__all__ = ["main"]
