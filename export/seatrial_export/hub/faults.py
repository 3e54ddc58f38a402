"""What can be the matter with a folder, each with one message."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
"""Weights in forms that run code when they are read, or that transformers 5 reads no more."""
MEND_PICKLED = (
    "where you trust the file: AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER_FOLDER) of "
    "transformers, with the class named in config.json, writes model.safetensors"
)
MEND_DOWNLOAD = "fetch the folder again, whole: hf download REPOSITORY --local-dir FOLDER"
MOST_HEADER_BYTES = 100_000_000
"""The bound that safetensors itself sets."""


def fault(path: Path, got: str, want: str, mend: str | None = None) -> DeclarationError:
    """What is the matter with a folder or one of its files, for messages."""
    return DeclarationError(f"folder '{path.name}'", got, want, mend)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of the folder; empty where there is no such file.

    Raises `DeclarationError` for a file that holds no object.
    """
    path = folder / name
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError):
        raise fault(folder, f"{name} that is no JSON", "a JSON object", MEND_DOWNLOAD) from None
    if not isinstance(value, dict):
        raise fault(folder, f"{name} that is no JSON object", "a JSON object", MEND_DOWNLOAD)
    return value


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise `DeclarationError` for a folder whose architecture this transformers does not know.

    Remote code is refused wherever the folder names it.
    """
    import transformers
    from transformers import CONFIG_MAPPING

    if not config:
        check_adapter(folder)
        raise fault(folder, "no config.json", "a folder of save_pretrained, whole", MEND_DOWNLOAD)
    check_code(folder, "config.json", config)
    model_type = config.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise fault(
            folder, f"config.json of model_type {str(model_type)[:60]!r}",
            f"a type that transformers {transformers.__version__} has",
            "install the release that has it, or write a pipeline around your own module",
        )  # fmt: skip


def check_adapter(folder: Path) -> None:
    """Raise `DeclarationError` for a folder of PEFT's, which holds no model."""
    adapter = read_json(folder, "adapter_config.json")
    if not adapter:
        return
    base = str(adapter.get("base_model_name_or_path") or "one that it does not name")[-80:]
    kind = str(adapter.get("peft_type") or "unknown kind")[:40]
    raise fault(
        folder, f"an adapter of PEFT's ({kind}) for the model {base!r}",
        "a model, whole",
        "merge it once: PeftModel.from_pretrained(BASE, FOLDER).merge_and_unload()"
        ".save_pretrained(OTHER_FOLDER), and adopt that folder",
    )  # fmt: skip


def check_code(folder: Path, name: str, config: Mapping[str, Any]) -> None:
    """Raise `DeclarationError` where a file of the folder asks for code of the folder's own."""
    if config.get("auto_map") or config.get("trust_remote_code"):
        raise fault(
            folder, f"{name} that asks for remote code (auto_map)",
            "an architecture of transformers itself",
            "no code of a folder is run; if transformers has the architecture, take 'auto_map' out "
            "of a copy of the folder",
        )  # fmt: skip


def check_weights(folder: Path) -> None:
    """Raise `DeclarationError` where weights are missing, pickled, or half there."""
    if (folder / INDEX).exists():
        files = read_json(folder, INDEX).get("weight_map")
        if not isinstance(files, dict) or not files:
            raise fault(folder, f"{INDEX} without a weight_map", "the names of its shards",
                        MEND_DOWNLOAD)  # fmt: skip
        names = sorted({str(each) for each in files.values()})
    elif (folder / WEIGHTS).exists():
        names = [WEIGHTS]
    else:
        check_pickled(folder, folder)
        raise fault(folder, "no weights", WEIGHTS, MEND_DOWNLOAD)
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise fault(folder, f"no '{name[:80]}'", f"every shard that {INDEX} names",
                        MEND_DOWNLOAD)  # fmt: skip
        check_safetensors(folder, name)


def check_pickled(folder: Path, part: Path) -> None:
    """Raise `DeclarationError` where a folder, or a part of it, has pickled weights alone."""
    if (part / WEIGHTS).exists() or (part / INDEX).exists():
        return
    pickled = next((name for name in PICKLED if (part / name).exists()), None)
    if pickled is not None:
        raise fault(folder, f"{pickled} and no {WEIGHTS}", "weights that run no code when read",
                    MEND_PICKLED)  # fmt: skip


def check_safetensors(folder: Path, name: str) -> None:
    """Raise `DeclarationError` where a file's size is not the one that its header names.

    Source: safetensors, "Format": 8 bytes of the header's length, the header, the tensors' bytes.
    """
    path = folder / name
    size = path.stat().st_size
    want = "the bytes that its header names"
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MOST_HEADER_BYTES, size):
            raise fault(folder, f"{name} without a header", want, MEND_DOWNLOAD)
        try:
            header = json.loads(file.read(length))
            ends = [
                each["data_offsets"][1] for key, each in header.items() if key != "__metadata__"
            ]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise fault(folder, f"{name} with a broken header", want, MEND_DOWNLOAD) from None
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise fault(folder, f"{name} of {size:,} bytes", f"{whole:,}, as its header says",
                    MEND_DOWNLOAD)  # fmt: skip


def check_loaded(folder: Path, info: Mapping[str, Any], spare: Sequence[str] = ()) -> None:
    """Raise `DeclarationError` where transformers found weights missing, or of other shapes.

    Weights whose names begin as in `spare` may be missing: nothing reads them. `info` is what
    `from_pretrained(..., output_loading_info=True)` gives beside the model.
    """
    odd = sorted(info["mismatched_keys"], key=lambda each: str(each[0]))
    if odd:
        name, got, want = odd[0]
        more = f", and {len(odd) - 1} weights more" if len(odd) > 1 else ""
        raise fault(
            folder, f"weight '{name}' of shape {tuple(got)}{more}",
            f"shape {tuple(want)}, as config.json has it",
            "labels (id2label) and sizes of config.json have to be those of the weights",
        )  # fmt: skip
    missing = sorted(each for each in info["missing_keys"] if not each.startswith(tuple(spare)))
    if missing:
        more = f", and {len(missing) - 1} weights more" if len(missing) > 1 else ""
        raise fault(
            folder, f"no weight '{missing[0]}'{more}", "all weights of the task's architecture",
            "random numbers would stand in their place: name another task (--task), or fine-tune "
            "the model first",
        )  # fmt: skip


def check_labels(folder: Path, labels: list[str]) -> None:
    """Raise `DeclarationError` for labels of which two are called alike, or one not at all."""
    twice = next((name for name in labels if labels.count(name) > 1 or not name.strip()), None)
    if twice is not None:
        raise fault(folder, f"label {twice[:60]!r} of config.json more than once, or empty",
                    "a name of its own for each class", "mend id2label in config.json")  # fmt: skip
