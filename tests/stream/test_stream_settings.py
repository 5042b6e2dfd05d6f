from __future__ import annotations

import pytest

from mulgil.errors import Invalid
from mulgil.stream import PAYLOAD_BYTES_MAX, StreamSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shards", 0),
        ("segment_bytes", 4095),
        ("frame_bytes_max", 0),
        ("frame_bytes_max", PAYLOAD_BYTES_MAX + 1),
        ("retention_hours", -1),
        ("retention_bytes", -1),
        ("disk_free_bytes_min", -1),
        ("waiting_bytes_max", 0),
    ],
)
def test_a_value_that_cannot_work_is_invalid(name: str, value: int) -> None:
    with pytest.raises(Invalid, match=name):
        StreamSettings(**{name: value})  # type: ignore[arg-type]
    assert StreamSettings().shards == 1
