"""What the classes of a CTC head are called, and how they are joined: the tokenizer of a bundle.

A pipeline file carries this in text.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer


def ctc_tokenizer(folder: Path, classes: int) -> bytes:
    """A `tokenizer.json` that joins the first so many tokens of a folder's CTC tokenizer to words.

    It takes a path without repeats and blanks: double letters are two tokens of it.
    """
    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    low = str.lower if getattr(loaded, "do_lower_case", False) else str
    words = loaded.convert_ids_to_tokens(list(range(classes)))
    made = Tokenizer(models.WordLevel({low(word): place for place, word in enumerate(words)}))
    space = getattr(loaded, "word_delimiter_token", None)
    steps = [] if space is None else [decoders.Replace(low(space), " ")]
    made.decoder = decoders.Sequence([*steps, decoders.Fuse()])
    return made.to_str().encode()
