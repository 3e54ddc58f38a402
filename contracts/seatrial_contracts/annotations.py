"""Pydantic's annotations on a row class: each is kept in the contract, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import annotated_types
from pydantic import AllowInfNan, BaseModel, Strict, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.kind import Kind, split_optional

TAKING = (
    "extra",
    "strict",
    "allow_inf_nan",
    "alias_generator",
    "coerce_numbers_to_str",
    "str_strip_whitespace",
    "str_to_lower",
    "str_to_upper",
    "str_min_length",
    "str_max_length",
)
"""The options of a model's configuration that decide which rows are taken."""
HOOKS = ("__init__", "__get_pydantic_core_schema__", "model_post_init")
RENAMING = ("alias", "validation_alias", "serialization_alias", "discriminator", "exclude")
IN_THE_MODEL = "write it in prepare or in the model, which are sealed with the contract"


class FieldAnnotation(NamedTuple):
    """One field as its class annotates it."""

    annotation: Any
    nullable: bool
    words: Sequence[Any]
    """What stands beside the type, without what means nothing to Pydantic."""
    default: Any = None
    """What a row without the field has there; None: there is no default."""


def read_field(info: FieldInfo) -> FieldAnnotation:
    """The type, whether it may be missing, and what stands beside it.

    Raises `DeclarationError` where one of them cannot be kept.
    """
    annotation, nullable = split_optional(info.annotation)
    words = list(info.metadata)
    while get_origin(annotation) is Annotated:  # Annotated[float, Ge(0)] | None
        annotation, *inner = get_args(annotation)
        words = [*inner, *words]
        annotation, inner_nullable = split_optional(annotation)
        nullable = nullable or inner_nullable
    for option in RENAMING:
        said = getattr(info, option)
        if said is not None:
            mend = "name the field as clients write it: letters of any script, digits and _"
            raise DeclarationError(
                f"{option}={said!r}"[:80], "a second name", "the field's own name", mend
            )
    if info.default_factory is not None:
        raise DeclarationError("default", "default_factory", "a value that JSON can carry")
    default = None if info.default is PydanticUndefined else info.default
    if default is None and info.default is None and not nullable:
        raise DeclarationError("default", "None", "'| None' in the type, or a value of the type")
    return FieldAnnotation(annotation, nullable, list(_said(words)), default)


def stated_kind(field: FieldAnnotation) -> Kind | None:
    """The kind as its author wrote it, with every word in its option.

    None where a type stands alone. Raises `DeclarationError` where the words cannot be kept.
    """
    named = [word for word in field.words if isinstance(word, Kind)]
    if len(named) > 1:
        raise DeclarationError(
            "the annotation",
            " and ".join(f"st.{type(kind).__name__}" for kind in named),
            "one kind",
        )
    meant = named or [
        kind for cls in kinds().values() if (kind := cls.from_type(field.annotation)) is not None
    ]
    found = next(iter(meant), None)
    if found is None:
        return None
    options = _options(found, [word for word in field.words if not isinstance(word, Kind)])
    return found.model_copy(update=options)


def check_class(rows: type[BaseModel], base: type[BaseModel]) -> None:
    """Raise `DeclarationError` where the class takes other rows than its fields declare.

    Validators, options and methods of the class's own change which rows it takes.
    """
    found = rows.__pydantic_decorators__
    for group in (
        "validators",
        "field_validators",
        "root_validators",
        "model_validators",
        "computed_fields",
    ):
        for name in getattr(found, group):
            where = f"{rows.__name__}.{name}"
            raise DeclarationError(
                where, f"one of the class's {group}", "what a contract holds", IN_THE_MODEL
            )
    for option in TAKING:
        if rows.model_config.get(option) != base.model_config.get(option):
            got = f"{option}={rows.model_config.get(option)!r}"[:80]
            want = f"{option}={base.model_config.get(option)!r}"
            raise DeclarationError(
                f"{rows.__name__}.model_config", got, want, "a server has no other rules"
            )
    for name in HOOKS:
        if not getattr(rows, name).__module__.startswith("pydantic.") and getattr(
            rows, name
        ) != getattr(base, name):
            where = f"{rows.__name__}.{name}"
            raise DeclarationError(
                where, "a method of the class's own", "what a contract holds", IN_THE_MODEL
            )


def complete(rows: type[BaseModel]) -> None:
    """Look up the names that were not there yet when the class was made.

    Raises `DeclarationError` where a name still is not there.
    """
    if rows.__pydantic_fields_complete__:
        return
    try:
        rows.model_rebuild(_parent_namespace_depth=4)
    except PydanticUndefinedAnnotation as error:
        raise DeclarationError(
            rows.__name__,
            f"'{error.name}' in an annotation, which nothing defines there",
            "names at the top of the file",
        ) from None


def _said(words: Sequence[Any]) -> Iterator[Any]:
    """Single words.

    Words that a row class means anyway, and words that mean nothing to Pydantic, are left out.
    """
    for word in words:
        if isinstance(word, annotated_types.GroupedMetadata) and not isinstance(
            word, (Strict, AllowInfNan)
        ):
            yield from _said(list(word))
        elif isinstance(word, FieldInfo):
            yield from _said(word.metadata)
        elif isinstance(word, Kind) or not (_is_ours(word) or _means_nothing(word)):
            yield word


def _is_ours(word: Any) -> bool:
    """Strict types and finite numbers, which every row class wants."""
    options = _options_of(word)
    return bool(options) and options.items() <= {"strict": True, "allow_inf_nan": False}.items()


def _means_nothing(word: Any) -> bool:
    """Does Pydantic itself make nothing of it? A unit is told all the same."""
    if isinstance(word, annotated_types.Unit):
        return False
    try:
        return bool(TypeAdapter(Annotated[Any, word]).core_schema == TypeAdapter(Any).core_schema)
    except Exception:  # of every sort: what fits no value at all may fit some
        return False


def _options_of(word: Any) -> Mapping[str, Any]:
    """What a word of Pydantic's says, by name."""
    if is_dataclass(word):
        return {option.name: getattr(word, option.name) for option in fields(word)}
    return vars(word) if hasattr(word, "__dict__") else {}


def _options(kind: Kind, words: Sequence[Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in words:
        option = kind.keeps.get(type(word))
        if option is None:
            known = (
                ", ".join(sorted(cls.__name__ for cls in kind.keeps)) or "no rule beside the kind"
            )
            mend = (
                kind.rules_go or f"use the options of st.{type(kind).__name__}, or {IN_THE_MODEL}"
            )
            raise DeclarationError(
                shown(word), f"a rule that st.{type(kind).__name__} does not keep", known, mend
            )
        if option in options or option in kind.model_fields_set:
            raise DeclarationError("the annotation", f"{option} twice", "each bound once")
        (options[option],) = _options_of(word).values()
    checked = type(kind)(**options)
    return {option: getattr(checked, option) for option in options}


def shown(word: Any) -> str:
    """A word of Pydantic's, as its author wrote it."""
    name = getattr(word, "__name__", None) or type(word).__name__
    said = ", ".join(
        f"{option}={getattr(value, '__qualname__', None) or repr(value)}"
        for option, value in _options_of(word).items()
        if value is not PydanticUndefined
    )
    return (said if name == "_PydanticGeneralMetadata" else f"{name}({said})" if said else name)[
        :80
    ]
