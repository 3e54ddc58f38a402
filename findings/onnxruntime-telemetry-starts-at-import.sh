#!/usr/bin/env bash
# onnxruntime's wheel for Linux tells Microsoft of each process that imports it, and its own call to turn that off comes too late.
#
# Versions: onnxruntime 1.32.0 of PyPI; Linux, CPU provider, Python's API.
# Given: a process that imports onnxruntime and opens no model, with an empty home folder; once plainly, once with
#   disable_telemetry_events() as its next line, and once with ORT_DISABLE_TELEMETRY=1 in its environment.
# Want: with disable_telemetry_events() nothing is kept and nothing is sent, as its name says.
# Seen: at import, a thread of its own starts, and an id of the machine and a database of events appear below
#   ~/.cache/Microsoft/DeveloperTools/.onnxruntime. After disable_telemetry_events() they are there all the same, and the thread
#   goes on. Followed by strace for 40 s without a network, such a process also asked the DNS again and again for
#   mobile.events.data.microsoft.com. With the variable, which is read once, at import, there is neither thread nor file.
# Way out: ORT_DISABLE_TELEMETRY=1 before onnxruntime is imported (Privacy.md of onnxruntime names it).
# Exit: 0 where this is seen, 1 where onnxruntime behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0
cat > "$folder/imported.py" <<'PYTHON'
import os
import sys
import time
from pathlib import Path

import onnxruntime

if sys.argv[1] == "call":
    onnxruntime.disable_telemetry_events()
time.sleep(2)
threads = len(os.listdir("/proc/self/task"))
kept = [file.name for file in Path.home().rglob("*") if file.is_file()]
print(f"{sys.argv[1]}: {threads} threads, files {sorted(kept)}", file=sys.stderr)
print(threads, "deviceid" in kept)
PYTHON
seen() { # how, and variables of the environment
  how=$1
  shift
  mkdir "$folder/$how"
  env -u XDG_CACHE_HOME -u ORT_DISABLE_TELEMETRY HOME="$folder/$how" "$@" "$folder/venv/bin/python" "$folder/imported.py" "$how"
}
plain=$(seen plain A=1)
call=$(seen call A=1)
variable=$(seen variable ORT_DISABLE_TELEMETRY=1)
[ "${plain#* }" = True ] && [ "$call" = "$plain" ] && [ "${variable#* }" = False ] && [ "${variable% *}" -lt "${plain% *}" ]
