"""Cost and quality of quantised variants of the examples: figures of docs/how-to/variants.md.

Run:  python benchmarks/models/variants.py [OUT.json]

Sentences are measured on 200 sentences of Python's own documentation, which the model was not tuned
on; digits on its held-out quarter. Times are best of several, in turns with fp32, one thread.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

import seatrial as st

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = 200
WANTED = {
    "sentences": ("fp16", "int8_weights", "int4_weights", "int8_per_token"),
    "photos": ("fp16", "int8", "int8_weights"),
    "digits": ("int8", "int8_weights", "int8_per_token"),
}
LOOSE = {"photos": ("--promise", "cosine>=0.99")}
"""The promises of examples whose labels mean nothing.

The weights of photos are random, so that its labels flip at the least change: directions alone are
promised.
"""
BUDGETS = ("cosine>=0.995", "cosine>=0.999", "cosine>=0.9995")


def real_sentences() -> list[str]:
    """Draw sentences of 4 to 60 words by a seed, each once.

    The sentences are those of the language reference that Python carries.
    """
    text = re.sub(r"\s+", " ", " ".join(topics[name] for name in sorted(topics)))
    found = [
        part
        for part in re.split(r"(?<=[.!?]) (?=[A-Z])", text)
        if re.fullmatch(r"[A-Z][A-Za-z ,;:'()-]+[.!?]", part)
    ]
    plain = [part for part in dict.fromkeys(found) if 4 <= len(part.split()) <= 60]
    return random.Random(0).sample(plain, SENTENCES)


def seal(name: str, out: Path) -> Path:
    """The example, sealed; sentences with 200 held-out ones."""
    pipeline = st.load_pipeline(str(ROOT / "examples" / name / "pipeline.py") + ":pipeline")
    if name == "sentences":
        pipeline = replace(pipeline, held_out=[{"text": text} for text in real_sentences()])
    return st.export(pipeline, out).path


def quantize(bundle: Path, *arguments: str) -> tuple[float, dict[str, object] | str]:
    """Seconds, and the receipt of `seatrial quantize`; what it said where it sealed nothing."""
    start = time.monotonic()
    command = [sys.executable, "-m", "seatrial", "quantize", str(bundle), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    said = (
        json.loads(done.stdout[done.stdout.index("{") :])
        if done.returncode == 0
        else done.stderr[-600:]
    )
    return time.monotonic() - start, said


def main(out: Path) -> None:
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, wanted in WANTED.items():
            bundle = seal(name, Path(folder))
            for place, variant in enumerate(wanted):
                seconds, receipt = quantize(
                    bundle, "--variant", variant, "--version", f"1.1.{place}", *LOOSE.get(name, ())
                )
                found[f"{name} {variant}"] = {"seconds": seconds, "receipt": receipt}
                print(name, variant, f"{seconds:.0f} s", summary(receipt), flush=True)
            for place, budget in enumerate(BUDGETS if name == "sentences" else ()):
                seconds, receipt = quantize(bundle, "--budget", budget, "--version", f"1.2.{place}")
                found[f"{name} {budget}"] = {"seconds": seconds, "receipt": receipt}
                print(name, budget, f"{seconds:.0f} s", summary(receipt), flush=True)
    out.write_text(json.dumps(found, indent=1))


def summary(receipt: dict[str, object] | str) -> str:
    """One line of a receipt's last variant."""
    if isinstance(receipt, str):
        return receipt.strip()
    last = [trial for trial in receipt["trials"] if trial["variant"] != "fp32"]
    cost = next(trial["cost"] for trial in last if trial["cost"])
    measured = next((trial for trial in last if trial["held_out"]), last[0])
    keep = [search["points"][search["chosen"]]["keep"] for search in receipt["searches"]]
    speed = ", ".join(f"{value:.2f}x at {rows}" for rows, value in cost["speed"].items())
    close = {key: value for key, value in measured["measures"].items() if value is not None}
    return (
        f"{cost['size_bytes'] / 1e6:.1f} MB, {speed}, mates {cost['batch_error']:.0e}, {close}, "
        f"flipped {measured['flipped']}, keeps {keep}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/variants.json"))
