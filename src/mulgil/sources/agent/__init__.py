"""The agent on another host: tails files there and ships them to a server, each byte once.

Callers: the CLI (`mulgil agent`). `run_agent` ships, `read_kinesis` reads Kinesis Agent's own configuration. The agent
stays small: nothing here imports Arrow, DuckDB or Iceberg. Not here: the server's side, which is `sources.collector`.
"""

from mulgil.sources.agent.kinesis import KinesisConfig, parse_kinesis, read_kinesis
from mulgil.sources.agent.settings import AgentFlow, AgentSettings
from mulgil.sources.agent.ship import FlowProgress, run_agent

__all__ = [
    "AgentFlow",
    "AgentSettings",
    "FlowProgress",
    "KinesisConfig",
    "parse_kinesis",
    "read_kinesis",
    "run_agent",
]
