"""The text that is said in a sound: Hugging Face's automatic speech recognition."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from seatrial_contracts.kinds.audio import Audio
from seatrial_contracts.kinds.kind import JsonSchema, closed_object
from seatrial_contracts.kinds.transcript import Transcript
from seatrial_serve.api.routes.body import TEXT, Body
from seatrial_serve.api.tasks.task import RowTask, Telling, check_fixed


class SpeechParameters(Body):
    """How a text is told. The contract decides all of it."""

    return_timestamps: bool | None = Field(None, description="true or false")
    generation_parameters: dict[str, Any] | None = Field(None, description="an object")


class SpeechBody(Body):
    """A sound."""

    inputs: str = Field(description="a sound in base64")
    parameters: SpeechParameters = Field(
        SpeechParameters(), description="an object of parameters of the task"
    )


class AutomaticSpeechRecognition(RowTask[SpeechBody]):
    """The text alone: when a part of it is said is not answered."""

    name = "automatic-speech-recognition"
    body = SpeechBody
    takes_kind, gives_kinds = Audio, (Transcript,)
    answers: ClassVar[JsonSchema] = closed_object({"text": TEXT})

    def telling(self, body: SpeechBody) -> Telling:
        """See `RowTask`."""
        asked, kind = body.parameters, self.output.kind
        want = "false: the text is answered without times"
        check_fixed("return_timestamps", asked.return_timestamps, False, want)
        want = "a request without it: the graph chooses the tokens"
        check_fixed("generation_parameters", asked.generation_parameters, None, want)
        return lambda arrays, note: {"text": kind.describe(arrays, note, self.options())}
