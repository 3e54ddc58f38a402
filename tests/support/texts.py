"""Texts in many scripts, as clients send them: words that were learnt from, and others."""

from __future__ import annotations

import numpy as np

WORDS = [
    *("ship", "sea", "calm", "storm", "harbour", "Über", "straße", "ΣΑΣ", "İstanbul", "жук"),
    *("море", "海", "海洋", "سفينة", "ship's", "well-made", "a", "I", "x1", "snake_case"),
    *("naïve", "café", "CAFÉ", "cafe\u0301", "2024", "3.5", "don't", "ﷺ", "ǅ", "ⅷ"),
    *("e-mail", "hello@x.org", "the", "and", "of", "was", "ไทย", "हिन्दी", "👩\u200d🚀"),
]
ODD = (
    "",
    " ",
    "\n",
    "zzz qqq",
    "Ship  SHIP\tship\n\nship",
    "İİ ΑΣ ΑΣ. ΟΔΟΣ",
    "ﬁne \u0301 \u200b x\u0301y",
    "a" * 50,
    "\x00 ship \\n",
)


def plain_texts(count: int, seed: int = 0) -> list[str]:
    """Words of `WORDS`, up to 13 a text."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(0, 14))) for _ in range(count)]


def odd_texts(count: int, seed: int = 1) -> list[str]:
    """The same in other cases, with marks, between other spaces, beside characters of all sorts."""
    rng, found = np.random.default_rng(seed), list(ODD)
    while len(found) < count:
        words = []
        for word in map(str, rng.choice(WORDS, rng.integers(0, 12))):
            forms = [
                word,
                word.upper(),
                word.capitalize(),
                word + chr(rng.integers(0x300, 0x36F)),
                "".join(map(chr, rng.integers(33, 0x2FFF, rng.integers(1, 5)))),
            ]
            words.append(forms[rng.integers(len(forms))])
        found.append(str(rng.choice([" ", "  ", "\n", ", ", "-"])).join(words))
    return found
