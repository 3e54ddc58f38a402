"""Scoring: the rows of a table, of JSON lines or of a folder of files, to a file of answers.

Answers are written beside their target and take its place once all rows were asked about.
"""

from __future__ import annotations

import importlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

from seatrial.rows_on_disk import TABLES, read_data
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError, Refusal

ROWS_AT_ONCE, FILES_AT_ONCE = 4096, 32
LINES = ".jsonl"
WRITERS = {".csv": ("pandas",), ".parquet": ("pandas", "pyarrow")}
"""Ending -> the packages that write it."""
Ask = Callable[[Any, str], Any]
"""Predictions of rows or of a frame, as "rows" or as a "frame"."""
Progress = Callable[[int, float], None]
"""Called with how many rows are done, and how many that were in a second."""


class Scored(NamedTuple):
    """What became of the rows."""

    rows: int
    refused: int
    seconds: float

    @property
    def told(self) -> str:
        """One line for people."""
        rate = self.rows / max(self.seconds, 1e-3)
        refused = f", {self.refused:,} of them refused" if self.refused else ""
        return f"scored {self.rows:,} rows{refused} in {self.seconds:.1f} s ({rate:,.0f} a second)"


class Source(ABC):
    """Rows that are asked about in parts."""

    column = "row"
    """What tells a row's place."""
    at_once = ROWS_AT_ONCE

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def part(self, start: int, stop: int) -> Any:
        """Rows from one place up to another, as a model is asked about them."""

    def place(self, row: int) -> int | str:
        """The place of a row, as it is written beside its answer."""
        return row

    def refusal(self, refusal: Refusal, row: int) -> Refusal:
        """The refusal of a row, by its place in the whole."""
        return refusal.in_row(row)

    def given(self, row: int) -> Any:
        """A row that was refused, to be mended and asked about again."""
        return self.part(row, row + 1)[0]


class Rows(Source):
    """Rows of JSON."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, start: int, stop: int) -> Any:
        """See `Source`."""
        return self._rows[start:stop]


class Frame(Source):
    """A data frame of pandas."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return len(self._frame)

    def part(self, start: int, stop: int) -> Any:
        """See `Source`."""
        return self._frame.iloc[start:stop]

    def given(self, row: int) -> Any:
        """See `Source`; a missing value is null."""
        text = self._frame.iloc[row : row + 1].to_json(
            orient="records", double_precision=15, date_format="iso"
        )
        return json.loads(text)[0]


class Files(Source):
    """The files of a folder, each a row: pictures or sounds."""

    column = "file"
    at_once = FILES_AT_ONCE

    def __init__(self, files: Sequence[Path], field: str) -> None:
        self._files, self._field = files, field

    def __len__(self) -> int:
        return len(self._files)

    def part(self, start: int, stop: int) -> Any:
        """See `Source`."""
        return [{self._field: file.read_bytes()} for file in self._files[start:stop]]

    def place(self, row: int) -> int | str:
        """The name of the file."""
        return self._files[row].name

    def refusal(self, refusal: Refusal, row: int) -> Refusal:
        """See `Source`."""
        return refusal.at(f"file '{self.place(row)}'")

    def given(self, row: int) -> Any:
        """See `Source`."""
        return self.place(row)


def source_of(path: Path, contract: Contract) -> Source:
    """The rows that lie in a file or folder.

    Raises `DeclarationError` where there are none, or none that the model can be asked about.
    """
    if not path.is_dir():
        data = read_data(path, contract)
        source: Source = Frame(data) if path.suffix.lower() in TABLES else Rows(listed(data))
    elif contract.file_input is None:
        want = "a file of rows: .csv, .parquet, .json or .jsonl"
        raise DeclarationError(f"folder '{path}'", "a model that takes no files", want)
    else:
        names = sorted(each for each in path.iterdir() if not each.name.startswith("."))
        source = Files([each for each in names if each.is_file()], contract.file_input.name)
    if not len(source):
        raise DeclarationError(f"'{path}'", "no rows", "at least one")
    return source


def listed(data: Any) -> list[Any]:
    """One row, or a list of rows, as a list."""
    return data if isinstance(data, list) else [data]


def score(source: Source, ask: Ask, out: Path, refused: Path | None, progress: Progress) -> Scored:
    """Ask about every row, and write the answers to `out`: a .csv, .parquet or .jsonl file.

    The first column is the row's place from 0, or the file's name. Refused rows go to `refused`,
    one JSON object a line with `row` (or `file`), `code`, `message`, `errors` (each fault of the
    row) and what was `given`. Without it the first one ends the run. Files that are there are
    replaced once all rows were asked about.
    Raises `DeclarationError`, and `Refusal` with the row's place.
    """
    started, count = time.perf_counter(), 0
    with replaced(out, "--out") as file, replaced(refused, "--refused") as bad:
        answers = writer_of(out, file, source)
        for start in range(0, len(source), source.at_once):
            stop = min(start + source.at_once, len(source))
            for first, last, found in answered(source, ask, answers.form, start, stop):
                if not isinstance(found, Refusal):
                    answers.add(first, last, found)
                    continue
                if bad is None:
                    raise found
                count += 1
                place = {source.column: source.place(first), "code": found.code}
                told = {"message": str(found), **found.described(), "given": source.given(first)}
                bad.write(line(place | told))
            progress(stop, stop / (time.perf_counter() - started))
        answers.close()
    return Scored(len(source), count, time.perf_counter() - started)


def answered(
    source: Source, ask: Ask, form: str, start: int, stop: int
) -> Iterator[tuple[int, int, Any]]:
    """Where a run of rows begins and ends, and its answers; or a single row and its refusal.

    Raises `Refusal` where it is about no single row.
    """
    while start < stop:
        try:
            found = ask(source.part(start, stop), form)
        except Refusal as refusal:
            if refusal.row is None or refusal.row >= stop - start:
                raise
            row = start + refusal.row
            # Rows before it may be refused too, for a field that is looked at later.
            yield from answered(source, ask, form, start, row)
            yield row, row + 1, source.refusal(refusal, row)
            start = row + 1
        else:
            yield start, stop, found
            return


class Writer(ABC):
    """Answers to a file."""

    form: str
    """In which they come."""

    def __init__(self, file: IO[bytes], source: Source) -> None:
        self._file, self._source = file, source

    @abstractmethod
    def add(self, start: int, stop: int, found: Any) -> None:
        """The answers of rows that follow each other."""

    @abstractmethod
    def close(self) -> None:
        """All answers were added."""


class Lines(Writer):
    """One JSON object a line."""

    form = "rows"

    def add(self, start: int, stop: int, found: Any) -> None:
        """See `Writer`."""
        for row, answer in zip(range(start, stop), found, strict=True):
            place = {self._source.column: self._source.place(row)}
            self._file.write(line({**place, "prediction": answer}))

    def close(self) -> None:
        """See `Writer`."""


class Table(Writer):
    """A row for each answer."""

    form = "frame"

    def __init__(self, file: IO[bytes], source: Source, ending: str) -> None:
        super().__init__(file, source)
        self._ending, self._frames = ending, list[Any]()

    def add(self, start: int, stop: int, found: Any) -> None:
        """See `Writer`."""
        if self._source.column in found.columns:
            got = f"an answer of the name '{self._source.column}'"
            raise DeclarationError("--out", got, f"a {LINES} file, which keeps them apart")
        places = [self._source.place(row) for row in range(start, stop)]
        made = found.reset_index(drop=True)
        made.insert(0, self._source.column, places)
        self._frames.append(made)

    def close(self) -> None:
        """See `Writer`."""
        pandas = importlib.import_module("pandas")
        whole = pandas.concat(self._frames, ignore_index=True) if self._frames else None
        if whole is None:
            whole = pandas.DataFrame({self._source.column: []})
        if self._ending == ".csv":
            self._file.write(whole.to_csv(index=False).encode())
        else:
            whole.to_parquet(self._file, index=False)


def writer_of(out: Path, file: IO[bytes] | None, source: Source) -> Writer:
    """What writes the kind of file that `out` is called."""
    assert file is not None
    ending = out.suffix.lower()
    return Lines(file, source) if ending == LINES else Table(file, source, ending)


def check_files(rows: Path, out: Path, refused: Path | None) -> None:
    """Check the names of the three files, and that what writes them is installed.

    Raises `DeclarationError` for one that stands twice, and for an ending that is not written.
    """
    named = [path.resolve() for path in (rows, out, refused) if path is not None]
    if len(set(named)) < len(named):
        raise DeclarationError("--out", "the same file twice", "rows, answers and refused apart")
    kinds = (*TABLES, LINES)
    if out.suffix.lower() not in kinds:
        raise DeclarationError(f"--out {out}", f"the ending '{out.suffix}'", ", ".join(kinds))
    if refused is not None and refused.suffix.lower() != LINES:
        raise DeclarationError(f"--refused {refused}", f"the ending '{refused.suffix}'", LINES)
    for package in WRITERS.get(out.suffix.lower(), ()):
        if find_spec(package) is None:
            want = f"{package}, which writes it"
            raise DeclarationError(f"--out {out}", f"no {package}", want, f"pip install {package}")


@contextmanager
def replaced(path: Path | None, option: str) -> Iterator[IO[bytes] | None]:
    """A file beside `path`, which takes its place unless something is raised."""
    if path is None:
        yield None
        return
    beside = path.with_name(f".{path.name}.part")
    try:
        opened = beside.open("wb")
    except OSError as error:
        got = error.strerror or "an error"
        raise DeclarationError(f"{option} {path}", got, "a file that can be written") from None
    try:
        with opened:
            yield opened
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def line(value: Any) -> bytes:
    """A line of JSON; numbers as numpy has them, and anything that is no JSON as its text."""
    import orjson

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, default=str, option=options)
