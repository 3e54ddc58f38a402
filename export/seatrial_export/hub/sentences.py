"""Texts of our own for golden rows, where a user gives none: plain, odd, long and short ones."""

from __future__ import annotations

SENTENCES = (
    "A ship is tried at sea before it is handed over.",
    "The vessel undergoes sea trials prior to delivery.",
    "Penguins breed in large colonies on rocky shores.",
    "The train to the coast leaves at a quarter past nine.",
    "Please restart the server after the update has finished.",
    "How do I reset my password?",
    "I forgot my login credentials and cannot sign in.",
    "Bread rises because yeast turns sugar into carbon dioxide.",
    "The food was cold, the waiter was rude, and we will not come back.",
    "What a wonderful evening: thank you all so much!",
    "Ada Lovelace met Charles Babbage in London in 1833.",
    "Die Sitzung wurde auf den 3. März verschoben.",
    "Le prix a augmenté de 12,5 % en un an.",
    "Rain.",
)
ODD = (
    "", "a", "e\u0301 \u00e9", "\u6df1\u5ea6\u5b66\u4e60\u6a21\u578b\u90e8\u7f72",
    "\u0130stanbul'da \u0131\u015f\u0131k", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u26f4\ufe0f", "tab\tand\nline",
    "a@b.c? 3.14 - 2,71",
)  # fmt: skip
"""Other scripts, marks, white space, and no text at all."""
TEXTS = (*SENTENCES, *ODD)
PAIRS = (
    ("How do I reset my password?", "I forgot my login credentials and cannot sign in."),
    ("How do I reset my password?", "Penguins breed in large colonies on rocky shores."),
    ("Where do penguins breed?", "Penguins breed in large colonies on rocky shores."),
    ("A man plays the violin on a stage.", "Somebody makes music."),
    ("A man plays the violin on a stage.", "Nobody makes a sound."),
    ("When did Ada Lovelace meet Babbage?", "Ada Lovelace met Charles Babbage in London in 1833."),
    ("What is a sea trial?", "A ship is tried at sea before it is handed over to its owner."),
    ("Rain.", "It rained all day, and the river rose to the top of its banks."),
    *((text, "It is tried at sea.") for text in ODD if text),
    *(("What is it?", text) for text in ODD if text),
)
"""A first and a second text: questions with passages, and sentences with their consequences."""
OURS = "the golden rows are our own: --rows ROWS proves it on yours"
