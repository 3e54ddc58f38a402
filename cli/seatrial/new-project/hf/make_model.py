"""Write `model`: a tiny classifier of texts with random weights, in place of one of your own."""

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

FOLDER = Path(__file__).parent / "model"
WORDS = "the a an is was it this that and not good bad fast slow fine great poor".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"


def main():
    """Make tokenizer and weights, and save both as the library does."""
    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    places = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = BertTokenizer(vocab=places)
    config = BertConfig(
        vocab_size=len(places), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=66, initializer_range=0.4,
        id2label={0: "complaint", 1: "praise"}, label2id={"complaint": 0, "praise": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)


if __name__ == "__main__":
    main()
