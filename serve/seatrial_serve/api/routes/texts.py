"""What routes about texts share: the model's text, its tokens, and the vectors that it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

from seatrial_contracts.answer_forms import MappedOutput, prompted
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.embedding import NO_PROMPT, Embedding
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.output_kind import OptionValues
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.tokenised import Tokenise
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.described import KnownModel, loaded
from seatrial_serve.process.json_pieces import write_json

Described = Callable[["Vectors"], Any]
"""Makes the JSON values of a reply."""


class TextInput:
    """The only input of a model that takes a text."""

    def __init__(self, model: KnownModel) -> None:
        """Raises `Refusal` where the model takes something else."""
        fields = model.contract.inputs
        kind = fields[0].kind
        if len(fields) > 1 or not isinstance(kind, Text):
            got = "one that takes something else than a text"
            raise Refusal("E_UNSUPPORTED", "model", got, "a model whose only input is an st.Text")
        self._model, self.name, self.kind = model, fields[0].name, kind

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own, as its host stage has it."""
        return loaded(self._model).engine.front.stages[self.name].tokenizer  # type: ignore[attr-defined]

    def rows(
        self, texts: Sequence[str | list[int]], *, may_cut: bool = True, as_texts: bool = False
    ) -> list[dict[str, Any]]:
        """Validated rows of texts, or of the ids of their tokens.

        Ids become the text that has them where the contract takes texts alone, or with `as_texts`.
        Without `may_cut`, a text that the model would read in part is refused. Raises `Refusal`.
        """
        contract = self._model.contract
        check_number(texts, contract)
        as_they_are = self.kind.token_ids and not as_texts
        rows = [
            contract.validate_row(
                {
                    self.name: text
                    if as_they_are or isinstance(text, str)
                    else self.text_of(text, place)
                },
                place,
            )
            for place, text in enumerate(texts)
        ]
        if not may_cut:
            stage = loaded(self._model).engine.front.stages[self.name]
            assert isinstance(stage, Tokenise)
            for place, row in enumerate(rows):
                if stage.cuts(row[self.name]):
                    want = f"{self.kind.max_tokens} tokens at most"
                    raise Refusal("E_TOKENS", f"text {place}", "a longer one", want)
        return rows

    def text_of(self, ids: Sequence[int], place: int) -> str:
        """The text whose tokens are these.

        Raises `Refusal` where its tokens are others, as those of another tokenizer are.
        """
        tokenizer = self.tokenizer
        if all(0 <= each < tokenizer.get_vocab_size() for each in ids):
            text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
            for special in (True, False):
                if tokenizer.encode(text, add_special_tokens=special).ids == list(ids):
                    return text
        raise Refusal(
            "E_TOKENS",
            f"text {place}",
            "ids that are not the tokens of their text",
            "ids of the model's own tokenizer",
            "send the text itself",
        )


def check_number(each: Sequence[Any], contract: Contract, what: str = "texts") -> None:
    """Raise `Refusal` for none of these, or more than a request may have rows."""
    want = f"1 to {contract.limits.max_rows} {what}"
    if not each:
        raise Refusal("E_EMPTY_BATCH", "request body", f"no {what}", want)
    if len(each) > contract.limits.max_rows:
        raise Refusal("E_BATCH", "request body", f"{len(each)} {what}", want)


class Vectors(NamedTuple):
    """The vectors of a request's texts, and how many tokens they took."""

    model: KnownModel
    rows: Sequence[Array]
    """float32, whole or cut."""
    formed: Callable[[str], list[Array]]
    """The same in a form."""
    tokens: int


class TextEmbedding:
    """A model that embeds texts."""

    def __init__(self, model: KnownModel) -> None:
        """Raises `Refusal` where the model answers something else."""
        self.model, self.input = model, TextInput(model)
        self.output, self.kind = embedding_of(model.contract)

    def options(self, dimensions: int | None = None, prompt: str | None = None) -> dict[str, Any]:
        """The contract's options for these choices. Raises `Refusal`."""
        chosen = {"dimensions": dimensions, "prompt": prompt}
        given = {name: value for name, value in chosen.items() if value is not None}
        known = self.model.contract.known_options
        if dimensions == self.kind.size and "dimensions" not in known:
            del given["dimensions"]
        for name in given:
            if name not in known:
                size = f"{self.kind.size} alone" if name == "dimensions" else "none"
                raise Refusal("E_OPTION", f"option '{name}'", "it", f"{size}, as is declared")
        return dict(self.model.contract.read_options(given))

    def job(
        self,
        texts: Sequence[str | list[int]],
        options: OptionValues,
        describe: Described,
        *,
        may_cut: bool = True,
    ) -> Job:
        """Embed texts, and reply with what `describe` makes of the vectors.

        Without `may_cut`, a text that the model reads in part is refused. Raises `Refusal`.
        """
        prompts = self.model.contract.prompts(options)
        rows = prompted(self.input.rows(texts, as_texts=bool(prompts)), prompts)
        return Job(rows, partial(self._reply, options, describe, may_cut), prompts=prompts)

    def _reply(
        self, options: OptionValues, describe: Described, may_cut: bool, answer: Answer
    ) -> Reply:
        notes = [notes[self.output.place or 0] for notes in answer.notes_by_row]
        for place, note in enumerate(notes):
            if note.is_cut and not may_cut:
                most = self.input.kind.max_tokens
                raise Refusal("E_TOKENS", f"text {place}", "a longer one", f"{most} tokens at most")
        size = options.get("dimensions", self.kind.size)
        (name,) = self.output.tensors
        whole = [outputs[name][index] for outputs, index in answer]

        def formed(form: str) -> list[Array]:
            return [self.kind.formed(vector, size, form) for vector in whole]

        vectors = Vectors(
            self.model, formed("float32"), formed, sum(len(note.offsets) for note in notes)
        )
        value = describe(vectors)
        few = answer.rows <= loaded(self.model).few_rows
        return Reply(write_json(value, 0 if few else answer.size_bytes), answer=answer)


def embedding_of(contract: Contract) -> tuple[MappedOutput, Embedding]:
    """The contract's only embedding of its text. Raises `Refusal`."""
    found = [
        (output, output.kind)
        for output in contract.mapped
        if isinstance(output.kind, Embedding) and output.kind.of is not None
    ]
    if len(found) != 1:
        raise Refusal(
            "E_UNSUPPORTED",
            "model",
            f"one with {len(found)} embeddings of a text",
            'a model that answers one: st.Embedding(384, of="text")',
        )
    return found[0]


def prompt_among(kind: Embedding, names: Mapping[str, Sequence[str]], wanted: str) -> str | None:
    """The first declared prompt among those that a word of the protocol may mean.

    If none of them is declared beside others, no prompt is the choice.
    """
    none = NO_PROMPT if kind.prompts else None
    return next((name for name in names.get(wanted, ()) if name in kind.prompts), none)
