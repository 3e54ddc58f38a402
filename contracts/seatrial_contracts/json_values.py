"""How many values a JSON text holds, told before it is parsed.

Parsing millions of values holds the interpreter, and with it everybody else's requests.
"""

from __future__ import annotations

import numpy as np

from seatrial_contracts.errors import Refusal

SPARE = 1024
"""Values beyond those of the rows that any request may hold."""
COMMA, QUOTE = ord(","), ord('"')


def check_values(body: bytes, most: int, max_rows: int | None = None) -> None:
    """Bound the number of values in a JSON text before it is parsed.

    Raises `Refusal` for a text that holds more than twice the `most` values that the largest
    request needs: twice, since a key may come twice. Commas within strings do not count. `max_rows`
    is the bound of a request for `{"list": [row, ...]}`, by which too many rows are told from too
    many values.
    """
    most = 2 * most + SPARE
    if len(body) <= 2 * most or body.count(b",") < most:
        return
    text = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    outside = np.cumsum(text == QUOTE, dtype=np.uint8) & 1 == 0
    commas = (text == COMMA) & outside
    if np.count_nonzero(commas) < most:
        return
    if max_rows is not None:
        opens = ((text == ord("[")) | (text == ord("{"))) & outside
        closes = ((text == ord("]")) | (text == ord("}"))) & outside
        depth = np.cumsum(opens.view(np.int8) - closes.view(np.int8), dtype=np.int32)
        if np.count_nonzero(commas & (depth == 2)) >= max_rows:
            raise Refusal(
                "E_BATCH", "request body", f"more than {max_rows} rows", f"1 to {max_rows} rows"
            )
    raise Refusal("E_LIMIT", "request body", f"more than {most} values", f"at most {most} values")
