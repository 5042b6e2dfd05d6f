"""Faults from a seed, on real processes, until nothing is left that a kill at a bad moment could break.

A scenario (`scenario.py`) is a project in a temporary folder: clients post events and know which were acknowledged
(`client.py`), programs write logs that are rotated under the reader (`log.py`), and the server is killed, stopped,
robbed of its disk and of its clock as its plan says (`plan.py`). Then it is started once more and the lake is compared
with what everybody knows (`verify.py`). Called by `mulgil chaos` and by tests/simulation. The line has no word of it:
what the harness has to see or to break, it does from outside, or by wrapping functions in a process of its own
(`steps.py`).
"""

from mulgil.app.chaos.campaign import ChaosSettings, Sum, repeat_command, run_seed, run_seeds
from mulgil.app.chaos.scenario import Outcome

__all__ = ["ChaosSettings", "Outcome", "Sum", "repeat_command", "run_seed", "run_seeds"]
