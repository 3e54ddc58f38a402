#!/usr/bin/env bash
# tokenizers 0.23.3: a WordPiece tokenizer that is trained on the same texts in the same order, with the same options, in three
# processes.
#
# Seen: each process learns another vocabulary, the same words with other ids and other pieces where counts tie. A BPE
# tokenizer with the same options is the same to the byte each time. So a seed fixes no training that begins with WordPiece.
#
# Exits with 0 if this is still so, and with another status if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3
cat > "$folder/learn.py" <<'PYTHON'
import hashlib
import pydoc_data.topics
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

texts = [pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)]
model, trainer = {
    "wordpiece": (models.WordPiece, trainers.WordPieceTrainer),
    "bpe": (models.BPE, trainers.BpeTrainer),
}[sys.argv[1]]
made = Tokenizer(model(unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
made.train_from_iterator(texts, trainer(vocab_size=2000, special_tokens=["[UNK]"], show_progress=False))
pieces = made.get_vocab()
print(
    hashlib.sha256(made.to_str().encode()).hexdigest()[:12],
    hashlib.sha256("\n".join(sorted(pieces)).encode()).hexdigest()[:12],
)
PYTHON
declare -A unlike
for kind in wordpiece bpe; do
  for _ in 1 2 3; do "$folder/venv/bin/python" "$folder/learn.py" "$kind"; done | tee "$folder/$kind" | sed "s/^/$kind, tokenizer and its pieces: /"
  unlike[$kind]=$(sort -u "$folder/$kind" | wc -l)
done
[ "${unlike[wordpiece]}" -gt 1 ] && [ "${unlike[bpe]}" -eq 1 ]
