"""Names, versions and administration: cases 111 to 116."""

from __future__ import annotations

import json

from refusals.case import CANARY, ROW, Case, request

BODY = json.dumps({"instances": [ROW]}).encode()
VERSIONS = ("9.9.9", "0", "-1", "01", "1.0", "1e3", "v1", "9" * 20, "1.0.0%00", "..")
NAMES = (
    CANARY,
    "../x",
    "..%2f",
    "%2e%2e",
    "a%00b",
    "a%0d%0aX:",
    "CON",
    "a/b",
    ".",
    "",
    "a" * 300,
    "%ff",
    "tabular%20",
    "TABULAR",
    "tabul%61r/",
    "%e2%80%aetabular",
)
CASES = [
    *(
        Case(
            f"111 version {value}",
            request(f"/v1/models/tabular/versions/{value}:predict", BODY),
            404,
        )
        for value in VERSIONS
    ),
    *(
        Case(
            f"111 version {value}, V2",
            request(f"/v2/models/tabular/versions/{value}/infer", BODY),
            404,
        )
        for value in VERSIONS
    ),
    *(
        Case(f"112 model {name[:20]!r}", request(f"/v1/models/{name}:predict", BODY), 404)
        for name in NAMES
    ),
    *(
        Case(f"112 model {name[:20]!r}, V2", request(f"/v2/models/{name}/infer", BODY), 404)
        for name in NAMES
        if not name.endswith("/")
    ),
    *(
        Case(f"112 model {name[:20]!r}, metadata", request(f"/v2/models/{name}", method="GET"), 404)
        for name in NAMES
        if name and not name.endswith("/")
    ),
    Case("112 an encoded letter is the letter", request("/v1/models/tabul%61r:predict", BODY), 200),
    Case("115 load is off", request("/v2/repository/models/tabular/load"), 404),
    Case("115 unload is off", request("/v2/repository/models/tabular/unload"), 404),
    Case("an unknown label", request("/v1/models/tabular/labels/canary:predict", BODY), 404),
]
