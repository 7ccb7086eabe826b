"""Files of the numbers that a picture shows: rows of named values, as JSON or CSV."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence

EXTENSIONS = (".json", ".csv")
Record = Mapping[str, object]


def encode_records(records: Sequence[Record], extension: str) -> bytes:
    """Rows as a JSON list of objects (`.json`), or as CSV with a column for every name, in the order of appearance.

    A number that is not finite is null or an empty cell, as is a missing value in CSV.
    """
    finite = [{name: _finite(value) for name, value in record.items()} for record in records]
    if extension == ".json":
        return (json.dumps(finite, indent=1, default=str) + "\n").encode()
    names = list(dict.fromkeys(name for record in finite for name in record))
    table = io.StringIO()
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(finite)
    return table.getvalue().encode(errors="surrogateescape")  # names of files as the bytes that they are


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
