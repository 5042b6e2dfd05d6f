"""The demo's folder: a real project that is there to be looked at, edited and run afterwards. Called by `demo.py`."""

from __future__ import annotations

import json
import socket
from importlib.resources import files
from pathlib import Path

from mulgil.errors import Invalid

MARK = ".mulgil-demo.json"
"""Says that a folder is a demo, and how often it ran."""
PORT = 7410

PROJECT_TEXT = """\
# yaml-language-server: $schema=https://raw.githubusercontent.com/mulgil/mulgil/main/docs/mulgil.schema.json
# Everything that this project is. `mulgil check` explains every mistake in it.

listen: 127.0.0.1:{port}

sources:
  # What the pages of the site say: POST http://127.0.0.1:{port}/v1/web
  web:
    type: http
    table: bronze.web
    time: event_time            # when it happened; the table is partitioned by its day
    event_id: event_id          # an event that is sent twice lands once
    columns: {{price_krw: long}}  # types are found in the data; this one is settled, and other values go to _rescued

  # What the site's web server writes, followed while it grows and is rotated.
  access:
    type: files
    path: ./logs/access.log*
    format: combined
    table: bronze.access

# Everything else has a default: ./lake holds the tables' files, ./state.db the facts that must change together,
# ./stream keeps events from the moment they are acknowledged.
"""

PYICEBERG_TEXT = """\
# The tables are plain Apache Iceberg: PyIceberg, which knows nothing of Mulgil, reads them as they are.
from pathlib import Path

from pyiceberg.catalog import load_catalog

state = Path(__file__).with_name("state.db").absolute()
web = load_catalog("mulgil", type="sql", uri=f"sqlite:///{state}").load_table("bronze.web")

print(web.schema())
booked = web.scan(row_filter="event = 'reservation'", selected_fields=("clinic", "price_krw")).to_arrow()
sums = booked.group_by("clinic").aggregate([("price_krw", "sum")]).sort_by([("price_krw_sum", "descending")])
for row in sums.slice(0, 5).to_pylist():
    print(f"{row['clinic']:20} {row['price_krw_sum']:>12,} KRW")
"""


def new_folder(parent: Path) -> Path:
    """`mulgil-demo`, or `mulgil-demo-2` and so on where that is taken."""
    number = 1
    while (parent / _name(number)).exists():
        number += 1
    return parent / _name(number)


def prepare(folder: Path) -> int:
    """Write what is missing in the folder; the number of this run in it, from 1.

    Raises `Invalid` for a folder that holds something else.
    """
    mark = folder / MARK
    try:
        if folder.exists() and not mark.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Invalid("this is not empty, and no demo", where=str(folder), hint="name another --dir, or none")
        (folder / "questions").mkdir(parents=True, exist_ok=True)
        run = 1 + (int(json.loads(mark.read_text())["runs"]) if mark.exists() else 0)
        mark.write_text(json.dumps({"runs": run}) + "\n")
        texts = {"mulgil.yaml": PROJECT_TEXT.format(port=free_port()), "read_with_pyiceberg.py": PYICEBERG_TEXT}
        for one in files("mulgil.app.demo").joinpath("questions").iterdir():
            if one.name.endswith(".sql"):
                texts[f"questions/{one.name}"] = one.read_text(encoding="utf-8")
        for name, text in texts.items():
            if not (folder / name).exists():
                (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"the demo cannot be written: {error.strerror}", where=str(folder)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid("this is not what a demo wrote", where=str(mark), hint="name another --dir, or none") from error
    return run


def free_port() -> int:
    """7410, or any that is free where that is taken."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Invalid("no port is free", where="127.0.0.1")


def _name(number: int) -> str:
    return "mulgil-demo" if number == 1 else f"mulgil-demo-{number}"
