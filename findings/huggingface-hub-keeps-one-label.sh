#!/usr/bin/env bash
# huggingface_hub's client of an endpoint keeps one label of a text where the answer has several, and says nothing.
#
# Versions: huggingface_hub 2.4.0; Linux, Python 3.11. The endpoint is a few lines of Python on the loopback.
# Given: an endpoint that answers [{"label": ..., "score": ...}, ...], three labels, as the task's own schema has it
#   (huggingface.js, packages/tasks/src/tasks/text-classification/spec/output.json, state fe42e68 of 2026-08-21).
# Want: `InferenceClient(model=URL).text_classification(...)` gives a list of three, as its annotation says
#   (`list[TextClassificationOutputElement]`), and as `image_classification` does of the same bytes.
# Seen: it gives the first element alone, which is no list. Only an answer within a further list, [[...]], is whole.
# Way out: an endpoint answers [[{"label": ..., "score": ...}, ...]] to this task, whatever the schema says.
# Exit: 0 where this is seen, 1 where the client behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0
cd "$folder"
HF_HOME="$folder/hf" "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from huggingface_hub import InferenceClient

LABELS = [{"label": "sea", "score": 0.5}, {"label": "land", "score": 0.3}, {"label": "air", "score": 0.2}]


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps([LABELS] if self.path == "/nested" else LABELS).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
flat = InferenceClient(model=url).text_classification("a ship")
nested = InferenceClient(model=f"{url}/nested").text_classification("a ship")
picture = InferenceClient(model=url).image_classification(b"some picture")
print("of a list", flat, "of a list in a list", len(nested), "of a picture, the same list", len(picture))
server.shutdown()
sys.exit(0 if not isinstance(flat, list) and flat["label"] == "sea" and len(nested) == len(picture) == 3 else 1)
PYTHON
