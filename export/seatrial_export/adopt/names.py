"""Foreign names as fields could bear them.

Foreign names are columns of a data frame, and inputs and outputs of a graph.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from seatrial_contracts.contract_fields import is_field_name


def spelled(name: str) -> str:
    """Spell a foreign name as a field's: `sepal length (cm)` is `sepal_length_cm`.

    An x stands before a leading digit, and a _ follows one of Pydantic's own names.
    """
    made = re.sub(r"[\W_]+", "_", unicodedata.normalize("NFKC", name)).strip("_")
    if not made or made[0].isdigit():
        made = f"x{made}"
    return made if is_field_name(made) else f"{made}_"


def plain(name: str) -> str:
    """The same in small letters: what names have in common that differ in signs and case alone."""
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFKC", name).casefold()).strip("_")


def field_names(foreign: Iterable[str]) -> dict[str, str]:
    """Foreign name -> a field's name, unlike for unlike names.

    Of `a/b` and `a-b` the second is `a_b_2`.
    """
    names = list(foreign)
    made = {name: name for name in names if is_field_name(name)}
    taken = set(made)
    for name in names:
        if name in made:
            continue
        first = spelled(name)
        numbered = (f"{first}_{number}" for number in range(2, len(names) + 2))
        made[name] = (
            first if first not in taken else next(each for each in numbered if each not in taken)
        )
        taken.add(made[name])
    return made


def match_names(foreign: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """Foreign name -> the field that it is.

    A name is matched by its own name as a field, else by a field's name that differs in signs or
    case alone, where one does.
    """
    made = field_names(foreign)
    free = set(fields)
    found = {name: field for name, field in made.items() if field in free}
    free -= set(found.values())
    rest = [name for name in made if name not in found]
    theirs, ours = Counter(map(plain, rest)), Counter(map(plain, free))
    by_plain = {plain(field): field for field in free}
    return found | {
        name: by_plain[plain(name)]
        for name in rest
        if theirs[plain(name)] == ours[plain(name)] == 1
    }
