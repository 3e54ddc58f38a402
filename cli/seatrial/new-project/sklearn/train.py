"""model-name: a scikit-learn pipeline, trained on train.csv. The contract is in rows.py.

Seal it:  model-seal
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import ensemble
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TABLE = Path(__file__).with_name("train.csv")
TARGET = "left"
NUMBERS = ["age_days", "spent", "active"]
WORDS = ["plan"]


def model():
    """The fitted estimator, which seatrial adopts."""
    table = pd.read_csv(TABLE).dropna(subset=[TARGET])
    table[WORDS] = table[WORDS].astype(object).where(table[WORDS].notna(), np.nan)
    table[NUMBERS] = table[NUMBERS].astype(float)
    learnt, held_out = train_test_split(table, test_size=0.2, random_state=0)
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(), WORDS),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        ]
    )
    fitted = make_pipeline(columns, ensemble.GradientBoostingClassifier(random_state=0))  #: label
    fitted = make_pipeline(columns, ensemble.GradientBoostingRegressor(random_state=0))  #: number
    fitted.fit(learnt[[*WORDS, *NUMBERS]], learnt[TARGET].astype(str))  #: label
    fitted.fit(learnt[[*WORDS, *NUMBERS]], learnt[TARGET])  #: number
    score = fitted.score(held_out[[*WORDS, *NUMBERS]], held_out[TARGET].astype(str))  #: label
    score = fitted.score(held_out[[*WORDS, *NUMBERS]], held_out[TARGET])  #: number
    print(f"accuracy {score:.3f} on {len(held_out)} rows not trained on")  #: label
    print(f"R2 {score:.3f} on {len(held_out)} rows not trained on")  #: number
    return fitted
