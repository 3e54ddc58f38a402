"""KServe's `POST /v1/timeseries/forecast`: series in, the steps that follow out.

Fields and words are those of KServe 0.21 (`kserve.protocol.rest.timeseries`).
"""

from __future__ import annotations

import time
from calendar import monthrange
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.forecast import Forecast
from seatrial_contracts.kinds.kind import JsonSchema, closed_object
from seatrial_contracts.kinds.output_kind import NO_OPTIONS
from seatrial_contracts.kinds.series import Series
from seatrial_contracts.kinds.tensor import Tensor
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.body import COUNT, TEXT, VECTOR, Body, listed
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.texts import check_number
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.described import KnownModel
from seatrial_serve.process.json_pieces import write_json

UNIVARIATE = "univariate_time_series"
MEDIAN = 0.5
SHORT = {
    "second": "S", "minute": "T", "hour": "H", "day": "D", "week": "W", "month": "M",
    "quarter": "Q", "year": "Y",
}  # fmt: skip
SPANS = {
    "S": timedelta(seconds=1),
    "T": timedelta(minutes=1),
    "H": timedelta(hours=1),
    "D": timedelta(days=1),
    "W": timedelta(weeks=1),
}
MONTHS = {"M": 1, "Q": 3, "Y": 12}
Frequency = Literal[
    "second", "S", "minute", "T", "hour", "H", "day", "D", "week", "W", "month", "M", "quarter",
    "Q", "year", "Y",
]  # fmt: skip
FORECAST = {
    "type": TEXT, "name": TEXT, "mean_forecast": VECTOR, "frequency": TEXT,
    "start_timestamp": TEXT, "quantiles": {"type": "object", "additionalProperties": VECTOR},
}  # fmt: skip
OUTPUT = {"type": TEXT, "id": TEXT, "status": TEXT, "content": listed(closed_object(FORECAST))}
ERROR = {"message": TEXT, "type": TEXT, "param": TEXT, "code": TEXT}


class SeriesBody(Body):
    """One series."""

    type: Literal["univariate_time_series", "multivariate_time_series"] = Field(
        description="univariate_time_series"
    )
    name: str = Field(description="a text")
    series: list[Any] = Field(description="a list of numbers, the oldest first")
    frequency: Frequency = Field(description="S, T, H, D, W, M, Q or Y")
    start_timestamp: str | None = Field(None, description="the time of the first number, ISO 8601")


class OptionsBody(Body):
    """What is wanted."""

    horizon: int = Field(ge=1, description="a whole number from 1")
    quantiles: list[float] | None = Field(None, description="a list of numbers between 0 and 1")


class ForecastBody(Body):
    """A request. `metadata` changes nothing."""

    model: str = Field(description="a model's name")
    inputs: list[SeriesBody] = Field(description="a list of series")
    options: OptionsBody = Field(description="an object of horizon, quantiles")
    metadata: dict[str, Any] | None = Field(None, description="an object")


class Forecaster:
    """A model that forecasts one series."""

    def __init__(self, model: KnownModel) -> None:
        """Raises `Refusal` where the model takes or answers something else."""
        contract = model.contract
        taken, found = contract.inputs[0].kind, [
            field for field in contract.outputs if isinstance(field.kind, Forecast)
        ]  # fmt: skip
        fits = isinstance(taken, Series) and taken.channels is None and len(contract.inputs) == 1
        if not fits or len(found) != 1:
            raise Refusal(
                "E_UNSUPPORTED", "model", "one that forecasts no single series",
                "a model of one st.Series of one channel, with one st.Forecast",
            )  # fmt: skip
        assert isinstance(taken, Series)
        assert isinstance(found[0].kind, Forecast)
        self.contract, self.series, self.kind = contract, taken, found[0].kind
        self.given, self.output = contract.inputs[0].name, found[0].name
        means = [
            field.name
            for field in contract.outputs
            if isinstance(field.kind, Tensor) and field.kind.shape == (self.kind.horizon,)
        ]
        self.mean = means[0] if len(means) == 1 else None
        if self.mean is None and MEDIAN not in self.kind.quantiles:
            raise Refusal(
                "E_UNSUPPORTED", "model", "one that answers neither mean nor median",
                "a forecast with the quantile 0.5, or a tensor of the horizon's size beside it",
            )  # fmt: skip

    def job(self, asked: RouteExchange, body: ForecastBody) -> Job:
        """What the body asks. Raises `Refusal`."""
        places = self._places(body.options)
        starts = [self._start(each, place) for place, each in enumerate(body.inputs)]
        check_number(body.inputs, self.contract, "series")
        rows = [
            self.contract.validate_row({self.given: each.series}, place)
            for place, each in enumerate(body.inputs)
        ]
        name, identity = asked.model.name, asked.record.request_id
        return Job(rows, partial(self._reply, body, places, starts, name, identity))

    def _places(self, options: OptionsBody) -> list[int]:
        """The places of the wanted quantiles among those of the contract."""
        if options.horizon > self.kind.horizon:
            want = f"a whole number from 1 to {self.kind.horizon}"
            raise Refusal("E_OPTION", "option 'horizon'", str(options.horizon)[:24], want)
        known = self.kind.quantiles
        for each in options.quantiles or ():
            if each not in known:
                got, want = f"{each:g}", f"some of {', '.join(self.kind.names)}"
                raise Refusal("E_OPTION", "option 'quantiles'", got, want)
        wanted = known if options.quantiles is None else options.quantiles
        return [known.index(each) for each in wanted]

    def _start(self, given: SeriesBody, place: int) -> str:
        """When the forecast begins; empty where nothing says when the series does."""
        where = f"series {place}"
        if given.type != UNIVARIATE:
            raise Refusal("E_UNSUPPORTED", where, "several channels", UNIVARIATE)
        frequency = SHORT.get(given.frequency, given.frequency)
        declared = self.series.frequency
        if declared is not None and SHORT.get(declared, declared) != frequency:
            raise Refusal("E_OPTION", f"{where}, frequency", "another one", declared)
        if given.start_timestamp is None:
            return ""
        try:
            start = datetime.fromisoformat(given.start_timestamp)
            return later(start, frequency, len(given.series)).isoformat()
        except (ValueError, OverflowError):
            want = "a time in ISO 8601, with the forecast before the year 10000"
            raise Refusal("E_DATE", f"{where}, start_timestamp", "another text", want) from None

    def _reply(
        self, body: ForecastBody, places: Sequence[int], starts: Sequence[str], name: str,
        identity: str, answer: Answer,
    ) -> Reply:  # fmt: skip
        steps, told = body.options.horizon, []
        for given, start, (outputs, index) in zip(body.inputs, starts, answer, strict=True):
            (ahead,) = self.kind.client([outputs[self.output][index]], None, NO_OPTIONS)
            mean = (
                ahead[:, self.kind.quantiles.index(MEDIAN)]
                if self.mean is None
                else outputs[self.mean][index]
            )
            told.append({
                "type": UNIVARIATE,
                "name": given.name,
                "mean_forecast": mean[:steps].tolist(),
                "frequency": given.frequency,
                "start_timestamp": start,
                "quantiles": {
                    self.kind.names[place]: ahead[:steps, place].tolist() for place in places
                },
            })  # fmt: skip
        output = {"type": "time_series_forecast", "id": identity, "status": "completed"}
        value = {
            "id": identity,
            "created_at": int(time.time()),
            "status": "completed",
            "model": name,
            "outputs": [output | {"content": told}],
        }
        return Reply(write_json(value, answer.size_bytes), answer=answer)


class KserveForecast(Route[ForecastBody]):
    """Answers `{"id", "created_at", "status", "model", "outputs": [{"content": [...]}]}`."""

    path: ClassVar[str] = "/v1/timeseries/forecast"
    summary = "KServe's forecasts of series"
    body = ForecastBody
    answers: ClassVar[JsonSchema] = closed_object({
        "id": TEXT, "created_at": COUNT, "status": TEXT, "model": TEXT,
        "outputs": listed(closed_object(OUTPUT)),
    })  # fmt: skip
    fails: ClassVar[JsonSchema] = closed_object({"error": closed_object(ERROR)})

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        error = {
            "message": told.text, "type": told.code, "param": told.where, "code": str(told.status),
        }  # fmt: skip
        return orjson.dumps({"error": error})

    def fit(self, model: KnownModel) -> Forecaster:
        """See `Route`."""
        return Forecaster(model)

    def job(self, asked: RouteExchange, body: ForecastBody) -> Job:
        """See `Route`."""
        return self.fit(asked.model).job(asked, body)


def later(start: datetime, frequency: str, steps: int) -> datetime:
    """So many steps later; a day that the month does not have is the month's last.

    Raises `OverflowError` and `ValueError` beyond the year 9999.
    """
    if frequency in SPANS:
        return start + steps * SPANS[frequency]
    years, month = divmod(start.month - 1 + steps * MONTHS[frequency], 12)
    year, month = start.year + years, month + 1
    return start.replace(year=year, month=month, day=min(start.day, days_in(year, month)))


def days_in(year: int, month: int) -> int:
    """Days of a month. Raises `ValueError` beyond the year 9999."""
    if year > datetime.max.year:
        raise ValueError(year)
    return monthrange(year, month)[1]
