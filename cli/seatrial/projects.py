"""New projects: a folder of files that runs as it is, to be edited."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.frames import (
    DAY,
    DURATION,
    FLAG,
    FLOAT,
    LOCAL,
    MOMENT,
    WHOLE,
    WORDS,
    fields_of_frame,
    names_of,
    refuse_columns,
    row_code,
)
from seatrial_contracts.manifest import NAME

TABULAR, SKLEARN, HF = "tabular", "sklearn", "hf"
ABOUT = {
    TABULAR: "A PyTorch model of the columns of a table.",
    "text": "A PyTorch model of texts, with a tokenizer that is learnt with it.",
    "image": "A PyTorch model of pictures, served from their files.",
    "audio": "A PyTorch model of sounds, served from their files.",
    HF: "A folder of transformers' form.",
    SKLEARN: "A scikit-learn estimator of the columns of a table.",
}
"""Task -> what a project of it holds."""
OF_TABLES = (TABULAR, SKLEARN)
EXTRAS = {"text": "text", "image": "image", "audio": "audio", HF: "hub"}
"""Task -> the extra that its bundles need beside export, serve and parity."""
FILES = {
    "rows.py": "the contract: what a client sends, and what it is answered with",
    "pipeline.py": "training, and what is sealed",
    "train.py": "training: the estimator that is adopted",
    "make_model.py": "writes the folder `model`, in place of one of your own",
}
"""File -> what it is, for those that a README tells of."""
PLACES = {"gitignore": ".gitignore", "workflow.yml": ".github/workflows/release-gate.yml"}
"""File of a template -> where it goes, if that is another name."""
MODEL = "model-name"
"""Stands for the model's name in the templates."""
MARKED = re.compile(r"(.*?)(?:  #: (\w+))?")
"""A line of a template, and for which tables it is; none: for all."""
ODD = {WORDS.text: "free text", DURATION.text: "durations"}
"""The text of a field -> what a column of such fields holds, where no model of a table takes it."""
MOST_CLASSES, FEW_ROWS, FEW_NUMBERS = 200, 20, 20


@dataclass(frozen=True)
class Learnt:
    """What a table's model takes and answers."""

    file: str
    """Of the table: train.csv or train.parquet."""
    target: str
    rows: str
    """rows.py: the contract as Python."""
    constants: dict[str, Any]
    """Constants of the templates of tables, by their names."""
    timed: bool
    """Does it take times of a day?"""
    classes: tuple[str, ...]
    """Those of a label; none where a number is learnt."""


def write_project(
    folder: Path, task: str, table: Any = None, source: Path | None = None,
    target: str | None = None, model: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Write a project that runs, and return its files.

    `table` is a data frame to learn from, read from `source`; without one, a table is made.
    `model` is a folder of transformers' form. Raises `DeclarationError` where the name cannot be a
    model's, the folder is there, or the table's columns cannot be learnt from.
    """
    name = folder.name
    if not NAME.fullmatch(name):
        want = "letters, digits, '.', '_' and '-', as a model is called"
        raise DeclarationError("NAME", f"'{name}'", want)
    if folder.exists():
        raise DeclarationError(f"folder '{folder}'", "a folder that is there", "a new one")
    learnt = None
    if task in OF_TABLES:
        made = table is None
        table, target = (made_table(), "left") if made else (table, target or table.columns[-1])
        file = "train.csv" if source is None else f"train{source.suffix}"
        learnt = learnt_from(table, str(target), file, task)
    root = files("seatrial") / "new-project"
    found = {
        file.name: file.read_text("utf-8")
        for part in ("common", task)
        for file in (root / part).iterdir()
        if not (file.name == "make_model.py" and model is not None)
    }
    if model is not None:
        line = f"FOLDER = Path({str(model.resolve())!r})"
        found["pipeline.py"] = re.sub(
            "^FOLDER = .*$", lambda _: line, found["pipeline.py"], flags=re.MULTILINE
        )
    # The templates' words first: those of a table may be alike.
    words = words_of(name, task, [*found, *(("rows.py",) if learnt else ())], learnt, model)
    found = {file: filled(text, words) for file, text in found.items()}
    if learnt is not None:
        found = {file: of_table(text, learnt) for file, text in found.items()}
        found["rows.py"] = learnt.rows
    written = []
    for file, text in sorted(found.items()):
        path = folder / PLACES.get(file, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        written.append(path)
    if learnt is not None:
        path = folder / learnt.file
        table.to_csv(path, index=False) if source is None else shutil.copyfile(source, path)
        written.append(path)
    return written


def filled(text: str, words: Mapping[str, str]) -> str:
    """A template with its words filled in; the longest first, since some begin alike."""
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, words[word])
    return text


def words_of(
    name: str, task: str, found: Sequence[str], learnt: Learnt | None, model: Path | None
) -> dict[str, str]:
    """Word of the templates -> what stands in its place."""
    seal = "seatrial export pipeline.py:pipeline"
    if task == HF and model is None:
        seal = f"python make_model.py\n    {seal}"
    if task == SKLEARN and learnt is not None:
        seal = "seatrial adopt train.py:model --contract rows.py:Row"
        seal += f" --frame {learnt.file} --target {shlex.quote(learnt.target)} --name {name}"
    told = [f"| `{file}` | {what} |" for file, what in FILES.items() if file in found]
    return {
        "model-about": ABOUT[task],
        "model-seal": seal,
        "model-files": "\n".join(told),
        "model-extras": EXTRAS.get(task, ""),
        "model-install": "pip install -r requirements.txt"
        + " && python make_model.py" * (task == HF and model is None),
        MODEL: name,
    }


def of_table(text: str, learnt: Learnt) -> str:
    """A template with the constants of a table, and the lines alone that are for such a table.

    A line that ends in `#: label`, `number` or `time` is for one whose target or column is that.
    """
    kept = {"label" if learnt.classes else "number", *(["time"] if learnt.timed else [])}
    lines = [MARKED.fullmatch(line) for line in text.splitlines()]
    text = "\n".join(line[1] for line in lines if line and (line[2] or "") in {"", *kept}) + "\n"
    for name, value in learnt.constants.items():
        line = f"{name} = {value}".replace("\\", r"\\")
        text = re.sub(rf"^{name} = .*$", line, text, flags=re.MULTILINE)
    if learnt.file.endswith(".parquet"):
        text = text.replace("train.csv", learnt.file).replace("read_csv", "read_parquet")
    return text


def learnt_from(table: Any, target: str, file: str, task: str) -> Learnt:
    """What can be learnt from a table. Raises `DeclarationError` that names a column."""
    if target not in table.columns:
        known = ", ".join(map(str, table.columns))[:300]
        raise DeclarationError("--target", f"'{target}'", f"a column of the table: {known}")
    if len(table) < FEW_ROWS:
        raise DeclarationError("--frame", f"{len(table)} rows", f"at least {FEW_ROWS}")
    sent = table.drop(columns=[target])
    if not len(sent.columns):
        raise DeclarationError("--frame", "no column but the target", "columns to learn from")
    read = fields_of_frame(sent)
    columns = names_of(sent.columns)
    numbers, dates, times, words = list[str](), list[str](), list[str](), dict[str, int]()
    odd = dict(read.odd)
    for name, guess in read.fields.items():
        plain = guess.text.removesuffix(" | None")
        if plain.startswith("Literal"):
            words[name] = 1 + len(json.loads(f"[{plain[len('Literal[') : -1]}]"))
        elif plain in (FLAG.text, WHOLE.text, FLOAT.text):
            numbers.append(name)
        elif plain in (DAY.text, MOMENT.text, LOCAL.text) and task == TABULAR:
            (dates if plain == DAY.text else times).append(name)
        else:
            odd[columns[name]] = ODD.get(plain, "dates")
    want = f"numbers, flags,{' dates,' * (task == TABULAR)} or words of a closed list"
    without = " ".join(f"--without {shlex.quote(str(column))}" for column in odd)
    refuse_columns(odd, want, f"leave out what no client sends: {without}")
    answer = next(iter(names_of([target])))
    classes = classes_of(table[target])
    fields = (read.packed,) if read.packed and numbers else tuple(numbers)
    fields += (*dates, *times)
    constants = {
        "TARGET": repr(target),
        "ANSWER": repr(answer),
        "SENT": repr(tuple(map(str, sent.columns))),
        "NUMBERS": repr(fields),
        "TIMES": repr(tuple(times)),
        "WIDTH": len(numbers) + len(dates) + len(times),
        "WORDS": repr(words),
        "CLASSES": repr(classes),
    }
    if task == SKLEARN:  # an estimator takes the columns as they are called
        constants["NUMBERS"] = repr([str(columns[name]) for name in numbers])
        constants["WORDS"] = repr([str(columns[name]) for name in words])
    return Learnt(file, target, rows_code(sent, answer, classes), constants, bool(times), classes)


def classes_of(column: Any) -> tuple[str, ...]:
    """The classes of a target, as text; none where it holds numbers of many values.

    Raises `DeclarationError` for a target with too many different words.
    """
    there = column.dropna()
    few = there.nunique() <= FEW_NUMBERS
    if there.dtype.kind == "f" or (there.dtype.kind in "iu" and not few):
        return ()
    found = tuple(sorted(map(str, there.unique().tolist())))
    if not 2 <= len(found) <= MOST_CLASSES:
        want = f"2 to {MOST_CLASSES} classes, or numbers"
        raise DeclarationError(f"--target '{column.name}'", f"{len(found)} different values", want)
    return found


def rows_code(sent: Any, answer: str, classes: Sequence[str]) -> str:
    """rows.py: the row class of the columns, and the answer class of the target."""
    code = row_code(sent, "Row")
    kind = "float"
    if classes:
        labels = ", ".join(json.dumps(each, ensure_ascii=False) for each in classes)
        kind = f"Annotated[str, st.Label({labels})]"
        typing = re.search(r"^from typing import (.*)$", code, re.MULTILINE)
        names = {"Annotated", *(typing[1].split(", ") if typing else ())}
        code = code.replace(f"{typing[0]}\n" if typing else "\0", "")
        line = f"from typing import {', '.join(sorted(names))}\n"
        before, mark, after = code.partition("import seatrial as st")
        code = f"{before.rstrip()}\n{line}\n{mark}{after}".lstrip()
    told = (
        '"""The contract, guessed from the columns: bounds and units are yours to write in."""\n\n'
    )
    return f"{told}{code}\n\nclass Answer(st.Answer):\n    {answer}: {kind}\n"


def made_table() -> Any:
    """A table of customers, some cells of which are missing, and whether each left."""
    import numpy as np
    import pandas as pd

    chance = np.random.default_rng(0)
    plan = chance.choice(["free", "team", "business"], 400)
    age, spent = chance.uniform(0, 1000, 400).round(0), chance.exponential(50, 400).round(2)
    stays = age / 500 + (plan == "business") + spent / 100 + chance.normal(0, 0.3, 400)
    return pd.DataFrame(
        {
            "plan": plan,
            "age_days": age,
            "spent": np.where(chance.random(400) < 0.1, np.nan, spent),
            "active": chance.random(400) < 0.7,
            "left": np.where(stays < 1.5, "yes", "no"),
        }
    )
