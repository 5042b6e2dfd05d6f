"""Which columns of a data file are worth a dictionary. Called for every file that is written.

Parquet's writer tries one for each column unless it is told otherwise. For ids and positions, which hardly repeat, that
costs a sixth of the CPU of writing and makes the file larger (measured on events of 10 columns).
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

SAMPLE_ROWS = 1_000


def dictionary_columns(rows: pa.Table) -> list[str]:
    """Parquet paths of the columns in which a value of the sample stands twice on average; nested ones always."""
    sample = rows.slice(rows.num_rows // 2, SAMPLE_ROWS)
    found: list[str] = []
    for field, column in zip(sample.schema, sample.columns, strict=True):
        if pa.types.is_nested(field.type):
            found += _leaves(field.name, field.type)
        elif not pa.types.is_boolean(field.type) and 2 * pc.count_distinct(column).as_py() <= sample.num_rows:
            found.append(field.name)
    return found


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Paths of a nested column's leaves: https://github.com/apache/parquet-format/blob/master/LogicalTypes.md"""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    elif pa.types.is_map(kind):
        yield from _leaves(f"{path}.key_value.key", kind.key_type)
        yield from _leaves(f"{path}.key_value.value", kind.item_type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path
