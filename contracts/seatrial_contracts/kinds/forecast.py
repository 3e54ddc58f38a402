"""A forecast: quantiles of each of the next steps of a series."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_contracts.kinds.quantiles import Quantiles

MOST_STEPS = 2**20


class Forecast(Quantiles):
    """`Annotated[dict[str, list[float]], Forecast(horizon=24, quantiles=(0.1, 0.5, 0.9))]`.

    The model answers float32 numbers, shape `(batch, horizon, quantiles)`. A client sees the steps
    of each quantile over V1, `{"0.1": [...], "0.5": [...], "0.9": [...]}`, as KServe's time series
    protocol has them, and the tensor over V2. All else is as `Quantiles` has it.
    """

    kind: Literal["forecast"] = "forecast"  # type: ignore[assignment]
    horizon: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    """Steps ahead."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def check(self) -> None:
        super().check()
        if self.horizon < 1:
            raise DeclarationError("st.Forecast", "no horizon", "the number of steps ahead, from 1")

    def annotation(self) -> Any:
        return dict[str, list[float]]

    def want(self) -> str:
        return f"{self.horizon} steps of {super().want()}"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.horizon, len(self.quantiles))

    def _schema_of(self, number: JsonSchema) -> JsonSchema:
        size = {"minItems": self.horizon, "maxItems": self.horizon}
        return {"type": "array", "items": number} | size

    def example(self) -> Any:
        return {name: [number] * self.horizon for name, number in super().example().items()}
