#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2): an MP3 of varying bit rate, 20 seconds, whose first frame (the Xing header, which streams
# and cut files lack) is taken away. Such a file is valid; miniaudio 1.71 reads all of it.
#
# Seen: soundfile reads 7 of the 20 seconds, without an error. libsndfile estimates the length by the bit rate of the first
# frames, says so as `frames`, and hands out no more samples than that, so that counting what was read does not tell either.
#
# Exits with 0 if this is still so, and with another status if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet soundfile==0.14.0 numpy==2.4.6 miniaudio==1.71
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import miniaudio
import numpy as np
import soundfile

RATE = 16_000
times = np.arange(20 * RATE) / RATE
noise = np.random.default_rng(0).standard_normal(len(times)) * 0.3
sound = np.where(times % 4 < 2, noise, 0).astype(np.float32)
sink = io.BytesIO()
with soundfile.SoundFile(sink, "w", RATE, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3) as file:
    file.write(sound)
whole = sink.getvalue()
bare = whole[whole.index(whole[:2], 4) :]
for name, data in (("with its Xing header", whole), ("without", bare)):
    read, _ = soundfile.read(io.BytesIO(data))
    other = miniaudio.decode(data, nchannels=1, sample_rate=RATE).num_frames
    print(f"{name}: soundfile {len(read) / RATE:.2f} s, miniaudio {other / RATE:.2f} s")
sys.exit(0 if len(read) < 0.5 * len(sound) and other >= len(sound) else 1)
PYTHON
