"""The demonstration: a made-up clinic-booking site in a new folder, the line over it, the proof that it lost nothing.

`site.py` makes the traffic, `log_writer.py` and `poster.py` hand it over as a web server and browsers would,
`server.py` runs `mulgil run`, `watch.py` looks at the lake, `story.py` and `show.py` tell of it, `answers.py` asks the
questions, `proof.py` compares, and `demo.py` leads. Called by `mulgil demo`. The line does nothing differently for it.
"""

from mulgil.app.demo.demo import DemoSettings, run_demo

__all__ = ["DemoSettings", "run_demo"]
