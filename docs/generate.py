"""Write the generated pages anew: docs/reference/{cli,settings,metrics}.md and docs/mulgil.schema.json.

`make docs` runs it; tests/house/test_reference.py asserts that what is committed is what it would write.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer.main

from mulgil.app.cli.command import Command, Group
from mulgil.app.cli.commands import COMMANDS
from mulgil.app.cli.frame import build
from mulgil.app.project_schema import SHAPES, json_schema
from mulgil.app.setting_keys import Key, keys_of, kind_of
from mulgil.telemetry import METRICS

DOCS = Path(__file__).parent
NOTE = "<!-- written by docs/generate.py (`make docs`); do not edit -->"


def pages() -> dict[Path, str]:
    """Path below docs/ to text."""
    return {
        Path("reference/cli.md"): command_page(),
        Path("reference/settings.md"): settings_page(),
        Path("reference/metrics.md"): metrics_page(),
        Path("mulgil.schema.json"): json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def command_page() -> str:
    """Every command with its options and examples."""
    lines = [NOTE, "", "# Commands", "", "Every command takes the project from the current folder, from the nearest"]
    lines += [
        "folder above it that has a `mulgil.yaml`, or from `--project DIR`. Exit status: 0 done, 1 an error (said on"
    ]
    lines += ["standard error), 2 wrong usage, 130 interrupted.", ""]
    program = typer.main.get_command(build())
    for one in COMMANDS:
        if isinstance(one, Group):
            group: Any = program.commands[one.name]  # type: ignore[attr-defined]
            lines += [f"## mulgil {one.name}", "", one.help, ""]
            for command in one.commands:
                name = command.name or command.run.__name__.replace("_", "-")
                lines += _command(f"mulgil {one.name} {name}", command, group.commands[name], level=3)
        else:
            name = one.name or one.run.__name__.replace("_", "-")
            lines += _command(f"mulgil {name}", one, program.commands[name], level=2)  # type: ignore[attr-defined]
    return "\n".join(lines).rstrip() + "\n"


def _command(title: str, command: Command, built: Any, *, level: int) -> list[str]:
    arguments = [one for one in built.params if one.param_type_name == "argument"]
    options = [one for one in built.params if one.param_type_name == "option"]
    usage = " ".join([title, *(_argument(one) for one in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"{'#' * level} {title}", "", (built.help or "").strip(), "", f"    {usage}", ""]
    if built.params:
        lines += ["| | | default |", "|---|---|---|"]
        for one in [*arguments, *options]:
            name = _argument(one) if one in arguments else ", ".join((*one.opts, *one.secondary_opts))
            lines.append(f"| `{_cell(name)}` | {_cell(one.help or '')} | {_default(one)} |")
        lines.append("")
    width = max(len(line) for line, _ in command.examples)
    lines += [f"    {line.ljust(width)}   # {why}" for line, why in command.examples]
    return [*lines, ""]


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required or value is None or callable(value) or value is False or value == ():
        return ""
    return f"`{_cell(str(getattr(value, 'value', value)))}`"


def settings_page() -> str:
    """Every key of mulgil.yaml."""
    lines = [NOTE, "", "# mulgil.yaml", ""]
    lines += [
        "Only `sources` is required. Paths are relative to the file. `${NAME}` is filled in from the environment,"
    ]
    lines += [
        "`${NAME:-default}` with a default; `$${` stands for the two characters. Durations are written `500ms`, `30s`,"
    ]
    lines += ["`5m`, `12h`, `7d`, sizes `500KB`, `64MB`, `10GB`. `mulgil check` explains every mistake.", ""]
    for shape in SHAPES:
        kind = kind_of(shape)
        lines += [f"## {_title(shape.__name__, kind)}", "", " ".join((shape.__doc__ or "").split()), ""]
        lines += ["| key | what it says | default |", "|---|---|---|"]
        lines += [_setting(key) for key in keys_of(shape)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _title(name: str, kind: str | None) -> str:
    if kind:
        return f"sources: type {kind}"
    return {"ProjectDeclaration": "The project", "FormatShape": "format"}.get(
        name, name.removesuffix("Section").lower()
    )


def _setting(key: Key) -> str:
    if key.required or key.name == "type":
        default = "required"
    elif key.written_default is not None:
        default = f"`{_cell(json.dumps(key.written_default).strip(chr(34)))}`"
    else:
        default = ""
    doc = key.doc
    if len(key.choices) > 1:
        doc += f" One of {', '.join(f'`{one}`' for one in key.choices)}."
    if key.example is not None and key.name != "sources":
        example = key.example if isinstance(key.example, str) else json.dumps(key.example, ensure_ascii=False)
        doc += f" Such as `{example}`."
    return f"| `{key.name}` | {_cell(doc)} | {default} |"


def metrics_page() -> str:
    """Every metric."""
    lines = [NOTE, "", "# Metrics", "", "`GET /metrics` answers in Prometheus' text format.", ""]
    lines += ["| metric | kind | labels | what it counts |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {_cell(metric.help)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for path, text in pages().items():
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / path).write_text(text, encoding="utf-8")
        print(f"wrote docs/{path}")  # noqa: T201
