"""Where records come from. Three doors below this one: `files` (tailed globs), `collector` (HTTP), `agent` (ships from
another host); here is what they share, a stream read as a source. Not here: tables, SQL, the state.
"""

from mulgil.sources.streamed import READER, StreamSource, checkpoints, shipped

__all__ = ["READER", "StreamSource", "checkpoints", "shipped"]
