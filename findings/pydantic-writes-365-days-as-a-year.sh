#!/usr/bin/env bash
# Pydantic writes a timedelta of 365 days as P1Y, a calendar year, which other readers refuse or read as 366 days.
#
# Versions: pydantic 2.14.3, isodate 0.7.2; Linux, Python 3.11.
# Given: `timedelta(days=365)` in JSON mode, whose default form is ISO 8601.
# Want: `P365D`, as 364 days are written `P364D`: a timedelta has no years, and a year of ISO 8601 is a calendar year.
# Seen: `P1Y`, and 366 days are `P1Y1D`. isodate reads `P1Y` as a calendar year: from 2024-01-01 it is 366 days. Pydantic
#   itself reads it back as 365 days.
# Way out: take a year for 365 days where clients are Pydantic's, or write seconds (`ser_json_timedelta="float"`).
# Exit: 0 where this is seen, 1 where Pydantic behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydantic==2.14.3 isodate==0.7.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
from datetime import datetime, timedelta

import isodate
from pydantic import TypeAdapter

adapter = TypeAdapter(timedelta)
written = {days: json.loads(adapter.dump_json(timedelta(days=days))) for days in (364, 365, 366)}
start = datetime(2024, 1, 1)
read = (start + isodate.parse_duration(written[365]) - start).days
print("written", written, "365 days read by isodate from 2024-01-01:", read, "days")
sys.exit(0 if written == {364: "P364D", 365: "P1Y", 366: "P1Y1D"} and read == 366 else 1)
PYTHON
