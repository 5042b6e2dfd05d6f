"""`mulgil chaos` itself: real processes, killed by seeds. A failure prints the seed and how to run it again."""

from __future__ import annotations

import os

import pytest

from mulgil.app.chaos import ChaosSettings, Outcome, repeat_command, run_seed, run_seeds
from mulgil.app.chaos.plan import make_plan

SECONDS = 1.5
SECONDS_FAST = 0.8


def account(outcome: Outcome, seconds: float) -> str:
    """Everything that somebody needs who looks at a failed seed."""
    lines = [f"seed {outcome.seed}, again: {repeat_command(outcome, seconds)}", f"kept: {outcome.folder}"]
    return "\n".join([*lines, *outcome.problems, *outcome.events])


def test_a_seed_makes_the_same_plan_everywhere() -> None:
    assert make_plan(7, 2.0) == make_plan(7, 2.0)
    assert make_plan(7, 2.0) != make_plan(8, 2.0)


def test_two_hundred_seeds_draw_every_fault_and_every_rotation() -> None:
    plans = [make_plan(seed, 2.0) for seed in range(1, 201)]
    kinds = {fault.kind for plan in plans for fault in plan.faults}
    assert kinds == {"kill", "planted", "term", "pause", "second", "torn", "clock", "full", "books", "agent"}
    assert {way for plan in plans for log in plan.logs for way in log.rotations} == {
        "rename", "create", "copytruncate", "gzip",
    }  # fmt: skip


@pytest.mark.parametrize("seed", [4, 12])
def test_a_server_that_is_killed_again_and_again_loses_nothing(seed: int) -> None:
    outcome = run_seed(seed, SECONDS_FAST)
    assert not outcome.problems, account(outcome, SECONDS_FAST)
    assert outcome.acknowledged > 0
    assert outcome.kills > 0


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 201, 25))
def test_two_hundred_seeds_lose_nothing(first: int) -> None:
    together = 1 if os.environ.get("PYTEST_XDIST_WORKER") else 2
    settings = ChaosSettings(seeds=25, first_seed=first, seconds=SECONDS, together=together)
    failed = [account(outcome, SECONDS) for outcome in run_seeds(settings) if outcome.problems]
    assert not failed, "\n\n".join(failed)
