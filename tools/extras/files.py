"""Files that `seatrial adopt` reads, written by the libraries that they are of: FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import catboost
import lightgbm
import numpy as np
import pandas as pd
import torch
import xgboost
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "model", "a")

out = Path(sys.argv[1])
chance = np.random.default_rng(0)
table = pd.DataFrame({"x": chance.normal(size=80), "y": chance.normal(size=80)})
price = table["x"] * 2 + table["y"]
table.assign(price=price).to_csv(out / "train.csv", index=False)
xgboost.XGBRegressor(n_estimators=5).fit(table, price).save_model(out / "xgboost.ubj")
lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(table, price).booster_.save_model(
    out / "lightgbm.txt"
)
catboost.CatBoostRegressor(n_estimators=5, verbose=0, allow_writing_files=False).fit(
    table, price
).save_model(str(out / "catboost.cbm"))

torch.manual_seed(0)
config = BertConfig(
    vocab_size=len(WORDS),
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    intermediate_size=8,
    max_position_embeddings=32,
)
BertForSequenceClassification(config).save_pretrained(out / "hub")
made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(
    tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
).save_pretrained(out / "hub")
