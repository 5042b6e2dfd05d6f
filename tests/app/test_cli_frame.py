from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mulgil.app.cli import commands, frame
from mulgil.app.cli.command import Command, Group, ProjectOption
from mulgil.app.mistake import Mistake, ProjectInvalid
from mulgil.errors import Missing

HEAVY = ("pyarrow", "duckdb", "pyiceberg", "granian", "numpy", "pydantic", "yaml", "sqlalchemy", "rich.table")


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mulgil", *arguments],
        cwd=cwd,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_and_completion_load_no_heavy_library() -> None:
    code = (
        "import sys; import mulgil.app.cli.frame as f; import typer.main; typer.main.get_command(f.build()); "
        f"print([one for one in {HEAVY!r} if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_help_lists_every_command_with_its_examples() -> None:
    program: Any = typer.main.get_command(frame.build())
    assert len(program.commands) == len(commands.COMMANDS)
    for one in commands.COMMANDS:
        below = program.commands[one.name].commands if isinstance(one, Group) else program.commands
        for command in one.commands if isinstance(one, Group) else (one,):
            built = below[command.name or command.run.__name__.replace("_", "-")]
            assert built.help
            assert command.examples
            for line, why in command.examples:
                assert why
                assert line.replace("[", "\\[") in built.epilog


def test_help_wraps_a_paragraph_where_the_terminal_ends_and_not_where_the_source_does() -> None:
    assert "records and bytes with the positions" in run("ledger", "--help").stdout


def test_a_choice_that_there_is_not_is_wrong_usage() -> None:
    done = run("ledger", "--by", "day")
    assert done.returncode == 2
    assert "'hour'" in done.stderr


def test_a_project_from_nothing_to_checked(tmp_path: Path) -> None:
    made = run("init", "clinic", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert sorted(one.name for one in (tmp_path / "clinic").iterdir()) == [".gitignore", "README.md", "mulgil.yaml"]
    checked = run("check", "--format", "json", cwd=tmp_path / "clinic")
    assert checked.returncode == 0
    assert [row["table"] for row in json.loads(checked.stdout)] == ["bronze.web", "bronze.access"]


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "mulgil.yaml").write_text("mine")
    refused = run("init", str(tmp_path))
    assert refused.returncode == 1
    assert "there is a project already" in refused.stderr
    assert (tmp_path / "mulgil.yaml").read_text() == "mine"


def test_init_keeps_the_files_of_a_folder_that_has_some(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert run("init", str(tmp_path)).returncode == 0
    assert (tmp_path / "README.md").read_text() == "mine"


def test_check_says_every_mistake_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "mulgil.yaml").write_text("colour: red\nsources:\n  web: {type: http, table: web}\n")
    done = run("check", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert done.stdout == ""
    assert lines[0].startswith("mulgil.yaml:1:1  colour: unknown key; ")
    assert lines[1].startswith('mulgil.yaml:3:28  sources.web.table: "web" is not a table name; ')
    assert lines[2] == "error: mulgil.yaml has 2 mistakes"


@pytest.mark.parametrize("before", [True, False])
def test_the_project_may_be_named_before_or_after_the_command(before: bool, tmp_path: Path) -> None:
    run("init", str(tmp_path))
    chosen = ["--project", str(tmp_path)]
    done = run(
        *(chosen if before else []), "check", "--format", "csv", *([] if before else chosen), cwd=tmp_path.parent
    )
    assert done.stdout.splitlines()[0] == "source,type,from,format,table,time,partition,schema"


def test_wrong_usage_exits_with_2_and_names_the_nearest_command() -> None:
    done = run("chek")
    assert done.returncode == 2
    assert "check" in done.stderr


def test_the_version_is_said_both_ways() -> None:
    said = run("--version").stdout.strip()
    assert said.startswith("mulgil ")
    assert run("version").stdout.splitlines()[0] == said


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m mulgil schema | head -1", shell=True, capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a device of Linux")
@pytest.mark.parametrize("command", ["schema", "check", "check --format csv"])
def test_a_full_disk_behind_the_output_is_an_error_in_plain_words(command: str, tmp_path: Path) -> None:
    run("init", str(tmp_path))
    done = subprocess.run(
        f"{sys.executable} -m mulgil {command} > /dev/full",
        shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> int:
    """The exit status of a command that ends with this error."""

    def fails(project: ProjectOption = None) -> None:
        """Fail."""
        raise error

    command = Command(fails, panel="Look", examples=(("mulgil fails", "fail"),))
    monkeypatch.setattr(frame, "COMMANDS", (command, Group("group", "A group.", "Look", (command,))))
    monkeypatch.setattr(sys, "argv", ["mulgil", *arguments])
    with pytest.raises(SystemExit) as stop:
        frame.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_an_error_says_what_where_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = Missing("no table [bold]bronze.web[/bold]", where="SELECT *", hint="`mulgil tables` lists them")
    assert ended(monkeypatch, error, "fails") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: no table [bold]bronze.web[/bold]",
        "  where: SELECT *",
        "  hint:  `mulgil tables` lists them",
    ]


def test_mistakes_stand_before_the_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    error = ProjectInvalid("p.yaml", [Mistake("p.yaml", 3, 1, "a", "is wrong", "be right")])
    assert ended(monkeypatch, error, "group", "fails") == 1
    assert capsys.readouterr().err.splitlines()[0] == "p.yaml:3:1  a: is wrong; be right"


def test_an_interrupt_exits_with_130_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, KeyboardInterrupt(), "fails") == 130
    assert capsys.readouterr().err == ""


def test_the_shell_completes_commands() -> None:
    code = "import sys; sys.argv = ['mulgil']; from mulgil.app.cli import main; main()"
    environment = {"_MULGIL_COMPLETE": "complete_bash", "COMP_WORDS": "mulgil che", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.split() == ["check"]
