"""Columns of the cloud's tables in the results folder."""

from __future__ import annotations

from twin.events import Column

_BYTES = "i8"
COLUMNS: dict[str, Column] = {
    "time_s": Column("f8", "s", "start of the interval"),
    "cell_id": Column("i4", "", "row of the cell in cells.parquet; -1 the Wi-Fi of homes"),
    "service": Column("str", "", "message class"),
    "generated_bytes": Column(_BYTES, "B", "produced by cars in the cell"),
    "delivered_bytes": Column(_BYTES, "B", "carried by the cell to the cloud"),
    "buffered_bytes": Column(_BYTES, "B", "waiting in cars that are in the cell, at the interval's end"),
    "dropped_bytes": Column(_BYTES, "B", "pushed out of full stores"),
    "resent_bytes": Column(_BYTES, "B", "sent in vain, sent again later; part of no sum"),
    "messages": Column(_BYTES, "", "messages produced"),
    "moved_bytes": Column(_BYTES, "B", "brought into the cell, less taken away, in the stores of moving cars"),
}
DOWN_COLUMNS = COLUMNS | {
    "generated_bytes": Column(_BYTES, "B", "made ready in the cloud for cars in the cell"),
    "delivered_bytes": Column(_BYTES, "B", "carried by the cell to the cars"),
    "buffered_bytes": Column(_BYTES, "B", "waiting in the cloud for cars that are in the cell, at the interval's end"),
    "dropped_bytes": Column(_BYTES, "B", "pushed out of full queues in the cloud"),
    "moved_bytes": Column(_BYTES, "B", "brought into the cell, less taken away, as cars move"),
}
INGEST: dict[str, Column] = {
    "time_s": Column("f8", "s", "start of the interval"),
    "region": Column("i4", "", "regional ingest, 0 the westernmost"),
    "received": Column(_BYTES, "", "messages that arrived"),
    "taken": Column(_BYTES, "", "messages that workers finished"),
    "inside": Column(_BYTES, "", "messages waiting or in work at the interval's end"),
    "workers": Column("i4", "", "workers running at the interval's end"),
    "throttled_ticks": Column("i4", "", "ticks in which the quota refused messages"),
    "waiting_bytes": Column(_BYTES, "B", "waiting in all cars at the interval's end"),
}
