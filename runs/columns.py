"""Between the world's tables and Arrow: explicit schemas, units in the metadata, digests of content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from twin.events import Column, Table


class NotFiniteError(ArithmeticError):
    """A result holds an infinite number: a fault of the model, never written."""


def schema_of(name: str, columns: dict[str, Column]) -> pa.Schema:
    """Arrow schema of one table; unit and meaning in the metadata of each field.

    The same for empty, full and all-null tables, so parts and runs can be read together.
    """
    fields = [
        pa.field(column, _kind(declared.dtype), metadata={"unit": declared.unit, "doc": declared.doc})
        for column, declared in columns.items()
    ]
    return pa.schema(fields, metadata={"table": name})


def to_arrow(table: Table) -> pa.Table:
    """A table of the world as Arrow columns.

    NaN means "did not happen" in the world's float columns and becomes null here, so no
    file holds a NaN.

    Raises
    ------
    NotFiniteError
        When a column holds an infinite number.
    """
    schema = schema_of(table.name, table.columns)
    arrays = []
    for field in schema:
        values: Any = table[field.name]
        if values.dtype.kind == "f":
            if np.isinf(values).any():
                row = int(np.argmax(np.isinf(values)))
                raise NotFiniteError(f"{table.name}.{field.name} of row {row} is infinite")
            arrays.append(pa.array(values, field.type, mask=np.isnan(values)))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def table_digest(table: pa.Table) -> str:
    """SHA-256 over the content of a table: names, types, nulls and values, in order.

    File bytes change with the version of the Parquet writer; this does not.

    Examples
    --------
    >>> a = pa.table({"km": [1.0, None]})
    >>> table_digest(a) == table_digest(pa.concat_tables([a.slice(0, 1), a.slice(1)]))
    True
    """
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
            column = column.cast(kind)
        digest.update(f"{name}\0{kind}\0{len(column)}\0".encode())
        digest.update(np.packbits(column.is_null().to_numpy().astype(bool)).tobytes())
        if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
            texts = [v if isinstance(v, bytes) else str(v).encode() for v in column.drop_null().to_pylist()]
            digest.update(np.array([len(t) for t in texts], "<i8").tobytes())
            digest.update(b"".join(texts))
        elif pa.types.is_boolean(kind):
            digest.update(column.fill_null(False).to_numpy().astype("u1").tobytes())
        else:
            values = column.fill_null(0).to_numpy()
            digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _kind(dtype: str) -> pa.DataType:
    return pa.string() if dtype == "str" else pa.from_numpy_dtype(np.dtype(dtype))
