"""`mulgil version`: which version this is, of what it is made."""

from __future__ import annotations

import typer

from mulgil.app.cli.command import Command

_ENGINES = ("duckdb", "pyarrow", "pyiceberg", "granian")


def installed_version(package: str = "mulgil") -> str:
    """A package's installed version."""
    from importlib.metadata import version as version_of

    return version_of(package)


def version() -> None:
    """Print the version, with those of Python and the engines, for a report of a problem."""
    import platform

    typer.echo(f"mulgil {installed_version()}")
    typer.echo(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for engine in _ENGINES:
        typer.echo(f"{engine} {installed_version(engine)}")


COMMAND = Command(
    version,
    panel="Set up",
    examples=(("mulgil version", "this version and the engines' versions"), ("mulgil --version", "this version alone")),
)
