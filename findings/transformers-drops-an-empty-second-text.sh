#!/usr/bin/env bash
# transformers' tokenizers drop an empty second text of a pair, and keep it where the same pair comes in a batch.
#
# Versions: transformers 5.23.0, tokenizers 0.23.3; Linux, Python 3.11. No model is needed.
# Given: a tokenizer whose template of a pair is `[CLS] $A [SEP] $B [SEP]`, and the pair ("a", "").
# Want: `tokenizer("a", "")` and `tokenizer(["a"], [""])` give the same ids, those of `tokenizers` itself:
#   [CLS] a [SEP] [SEP].
# Seen: alone, the pair becomes the single text "a", [CLS] a [SEP]; in a batch it is a pair. Nothing is said of it. So a
#   cross-encoder scores an empty passage otherwise in a loop over pairs than in a batch of the same pairs.
# Way out: give pairs in a list, of one where need be, or encode with `tokenizers`.
# Exit: 0 where this is seen, 1 where transformers behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

words = ["[UNK]", "[CLS]", "[SEP]", "a"]
own = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
own.pre_tokenizer = Whitespace()
own.post_processor = TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=own)
alone, batch, judge = tokenizer("a", "")["input_ids"], tokenizer(["a"], [""])["input_ids"][0], own.encode("a", "").ids
print("alone", alone, "in a batch", batch, "tokenizers itself", judge)
sys.exit(0 if alone == [1, 3, 2] and batch == judge == [1, 3, 2, 2] else 1)
PYTHON
