"""How an error looks on standard error: what, where, and what to do about it; of a project file, every mistake."""

from __future__ import annotations

import sys

from mulgil.errors import MulgilError


def write_error(error: MulgilError) -> None:
    """Red on a terminal, plain elsewhere and with NO_COLOR."""
    from rich.console import Console
    from rich.text import Text

    plain = not sys.stderr.isatty()
    console = Console(stderr=True, highlight=False, soft_wrap=True, no_color=plain or None)
    for mistake in getattr(error, "mistakes", ()):
        place, _, text = str(mistake).partition("  ")
        console.print(Text(place, style="bold") + Text(f"  {text}"))
    head = Text("error", style="bold red") + Text(f": {error.what}")
    console.print(head)
    if error.where:
        console.print(Text(f"  where: {error.where}"))
    if error.hint:
        console.print(Text(f"  hint:  {error.hint}"))
