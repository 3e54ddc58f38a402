"""A folder as `save_pretrained` writes it, read as it lies on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seatrial_export.hub.faults import (
    check_code,
    check_config,
    check_labels,
    check_loaded,
    check_weights,
    fault,
    read_json,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SIDE_FILES = (
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
)

GENERATORS = (
    "ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSpeechSeq2Seq", "ForVision2Seq",
)  # fmt: skip
"""How architectures end that write texts of open length."""
SEGMENTERS = ("ForUniversalSegmentation", "ForInstanceSegmentation", "ForSegmentation")
"""How architectures end whose queries are things of their own, which may overlap."""


@dataclass(frozen=True)
class Folder:
    """The files of a folder that say how its model is asked.

    `modules` are those of sentence-transformers, in order, where the folder is one of its.
    """

    path: Path
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    modules: tuple[Mapping[str, Any], ...] = ()
    sentence_transformers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name as a bundle can be called."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.path.resolve().name).strip("-._")
        return re.sub(r"\.{2,}", ".", name)[:128] or "model"

    @property
    def architecture(self) -> str:
        """The class that config.json names first; empty where it names none."""
        named = self.config.get("architectures") or [""]
        return str(named[0])

    @property
    def generates(self) -> bool:
        """Does the architecture write texts of open length?"""
        return self.architecture.endswith(GENERATORS)

    @property
    def precision(self) -> str:
        """The type of the weights, as config.json names it; float32 where it names none."""
        said = self.config.get("dtype") or self.config.get("torch_dtype")
        return str(said or "float32").removeprefix("torch.")

    @property
    def root(self) -> Path:
        """Where the transformer itself lies: the folder, or the first module's own."""
        own = str(self.modules[0].get("path", "")) if self.modules else ""
        return self.path / own if own else self.path

    def file(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder, empty where there is none. Raises `DeclarationError`."""
        return read_json(self.path, name)

    @cached_property
    def loaded_config(self) -> PretrainedConfig:
        """The config as transformers reads it, with its defaults.

        Raises `DeclarationError` for values that transformers refuses.
        """
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.root, local_files_only=True)
        except Exception as error:  # transformers' and huggingface_hub's own kinds
            got = f"config.json that transformers refuses ({type(error).__name__})"
            raise fault(self.path, got, "the config of its model_type") from None

    @cached_property
    def labels(self) -> list[str]:
        """The names of the head's classes, in order. Raises `DeclarationError`."""
        named = self.loaded_config.id2label or {}
        labels = [str(named[place]) for place in sorted(named)]
        if sorted(named) != list(range(len(labels))):
            raise fault(self.path, "id2label with gaps in config.json", "places from 0 on")
        check_labels(self.path, labels)
        return labels

    @staticmethod
    def loads(auto_class: Any) -> str:
        """How a pipeline file loads the model, as text."""
        return (
            f"{auto_class.__name__}.from_pretrained(\n"
            "        FOLDER, local_files_only=True, use_safetensors=True, dtype=torch.float32\n"
            "    ).eval()"
        )

    def model(
        self, auto_class: Any, *, spare: Sequence[str] = (), **options: Any
    ) -> PreTrainedModel:
        """The model with all of its weights, in float32, for answering.

        Weights whose names begin as in `spare` may be missing. Raises `DeclarationError` where
        others are, or where some are of other shapes.
        """
        check_weights(self.root)
        with quiet():
            try:
                model, info = auto_class.from_pretrained(
                    self.root, local_files_only=True, use_safetensors=True, dtype=torch.float32,
                    output_loading_info=True, ignore_mismatched_sizes=True, **options,
                )  # fmt: skip
            except Exception as error:  # transformers' own kinds, of no common class
                want = f"a folder that {auto_class.__name__} loads"
                raise fault(
                    self.path, f"{type(error).__name__} of transformers: {told(error)}", want
                ) from error
        check_loaded(self.path, info, spare)
        loaded: PreTrainedModel = model.eval()
        return loaded


def read_folder(path: Path) -> Folder:
    """Read a folder's small files. Raises `DeclarationError` where it cannot be one."""
    if not path.is_dir():
        raise fault(path, "no such folder", "a folder of save_pretrained",
                    "hf download REPOSITORY --local-dir FOLDER")  # fmt: skip
    modules = read_modules(path)
    root = path / str(modules[0].get("path", "")) if modules else path
    config = read_json(root, "config.json")
    check_config(path, config)
    for name in SIDE_FILES:
        check_code(path, name, read_json(root, name))
    return Folder(
        path=path,
        config=config,
        tokenizer=read_json(root, "tokenizer_config.json"),
        preprocessor=read_json(root, "preprocessor_config.json"),
        modules=modules,
        sentence_transformers=read_json(path, "config_sentence_transformers.json"),
    )


def read_modules(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The modules of sentence-transformers; none of another folder. Raises `DeclarationError`."""
    import json

    file = path / "modules.json"
    if not file.exists():
        return ()
    try:
        modules = json.loads(file.read_bytes())
    except ValueError:
        raise fault(path, "modules.json that is no JSON", "a list of modules") from None
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise fault(path, "modules.json that is no list of modules", "a list of modules")
    for each in modules:
        place = Path(str(each.get("path", "")))
        if place.is_absolute() or ".." in place.parts:
            raise fault(path, "modules.json that names a path outside", "folders within")
    return tuple(modules)


def told(error: Exception) -> str:
    """The first line of a library's error, short."""
    return (str(error).strip().splitlines() or ["no text"])[0][:160]


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers reports no progress and no weights; its faults are ours to tell."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
