"""When requests arrive and who asks, in the ``stream`` section of a scenario; and the public figures behind the presets."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from clients.strict import Strict

YEAR = 365.0
"""Days of a year."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Preset(NamedTuple):
    """Public figures.

    Attributes:
        name: of the arrivals that take them.
        values: what they stand for.
        source: where they are from.
    """

    name: str
    values: dict[str, Any]
    source: str


PRESETS = {
    "datagrail-2020": Preset("poisson", {"per_million": 42}, "DataGrail: deletions per million identities in 2020"),
    "datagrail-2021": Preset("poisson", {"per_million": 84}, "DataGrail: deletions per million identities in 2021"),
    "walmart-2020": Preset("poisson", {"per_year": 6194}, "Walmart's CCPA metrics of 2020: deletions received"),
    "internet-brands-2023": Preset("poisson", {"per_year": 493}, "Internet Brands' CCPA metrics of 2023"),
    "ccpa-2023": Preset("poisson", {"per_year": 2_447_707}, "Temu's CCPA metrics of 2023: deletions received"),
    "drop-2026": Preset(
        "bursts",
        {"bursts": ({"day": 0, "requests": 155_000, "days": 20},)},
        "California's Delete Act: people who used DROP in the first 20 days of 2026",
    ),
    "google-2014": Preset(
        "decaying",
        {"first": 1060, "halving": 1066},
        "Google's right to be forgotten: about 1,060 requests a day in 2014 and 410 in 2018",
    ),
}
REFERENCE = "datagrail-2021"
"""The preset that simulated time is measured by."""

TAKES = {
    "uniform": (),
    "poisson": ("per_year", "per_million"),
    "bursts": ("per_year", "per_million", "bursts"),
    "decaying": ("first", "halving"),
    "trace": ("source",),
}
ORDER_TAKES = {
    **dict.fromkeys(("uniform", "oldest", "newest", "largest", "smallest"), ()),
    "exponential": ("rate",),
    "pareto": ("shape",),
    "labels": ("weights",),
    "groups": ("weights",),
    "listed": ("clients",),
    "adaptive": ("strategy", "score"),
}


class Named(Strict):
    """A name, or a name with its parameters: ``uniform`` or ``{name: poisson, per_year: 500}``."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        made = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [made["properties"]["name"], made]}


def _only(model: Any, takes: dict[str, tuple[str, ...]], where: str) -> None:
    """Raise ValueError for a parameter that is not one of this name's."""
    for key in model.model_fields_set - {"name", "preset"} - set(takes[model.name]):
        if getattr(model, key) != type(model).model_fields[key].default:
            known = ", ".join(takes[model.name]) or "no parameters"
            raise ValueError(f"{where}.{key}: {model.name} takes {known}")


class Burst(Strict):
    """So many requests more, at random times from a day on."""

    day: float = Field(ge=0, allow_inf_nan=False)
    requests: float = Field(gt=0, allow_inf_nan=False, description="expected")
    days: Positive = Field(description="how long it lasts")


class ArrivalSpec(Named):
    """When requests arrive."""

    name: Literal["uniform", "poisson", "bursts", "decaying", "trace"] = Field(
        "uniform", description="uniform: stream.requests at random times; the others decide the number themselves"
    )
    preset: str | None = Field(None, description=f"public figures: {', '.join(PRESETS)}")
    per_year: Positive | None = Field(None, description="poisson, bursts: expected requests in 365 days")
    per_million: Positive | None = Field(None, description="the same per million clients")
    bursts: tuple[Burst, ...] = Field((), description="bursts: on top of the base rate")
    first: Positive | None = Field(None, description="decaying: expected requests on the first day")
    halving: Positive | None = Field(None, description="decaying: days until the rate is half")
    source: str = Field("", description="trace: CSV or parquet with time, client and, if wanted, rows and kind")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("preset") is None:
            return value
        if (preset := PRESETS.get(value["preset"])) is None:
            raise ValueError(f"stream.arrivals.preset: there are {', '.join(PRESETS)}")
        return {"name": preset.name, **preset.values, **value}

    @model_validator(mode="after")
    def _fits(self) -> "ArrivalSpec":
        _only(self, TAKES, "stream.arrivals")
        if self.per_year is not None and self.per_million is not None:
            raise ValueError("stream.arrivals: give per_year or per_million")
        if self.name == "poisson" and self.per_year is None and self.per_million is None:
            raise ValueError("stream.arrivals: poisson needs per_year, per_million or a preset")
        if self.name == "bursts" and not self.bursts:
            raise ValueError("stream.arrivals: bursts needs bursts, as in [{day: 0, requests: 100, days: 2}], or a preset")
        if self.name == "decaying" and (self.first is None or self.halving is None):
            raise ValueError("stream.arrivals: decaying needs first and halving, or a preset")
        if self.name == "trace" and not self.source:
            raise ValueError("stream.arrivals: trace needs source, a CSV or parquet file")
        return self

    def rate(self, clients: int) -> float:
        """The base rate, in requests a day."""
        return (self.per_year or 0.0) / YEAR + (self.per_million or 0.0) * clients / 1e6 / YEAR


class OrderSpec(Named):
    """Who asks."""

    name: Literal[
        "uniform",
        "exponential",
        "pareto",
        "oldest",
        "newest",
        "largest",
        "smallest",
        "labels",
        "groups",
        "listed",
        "adaptive",
    ] = Field(
        "uniform",
        description="exponential, pareto: some far more likely than others; oldest, newest: in the data's order; largest, "
        "smallest: by number of examples; labels: by the label that most of a client's examples have; groups: by "
        "data.group_column; listed: these, in this order; adaptive: by their scores under the published models",
    )
    rate: Positive = Field(3.0, description="exponential: the weight falls by exp(-rate) from the first to the last")
    shape: Positive = Field(1.16, description="pareto: smaller is more uneven; 1.16 gives a fifth four fifths")
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {}, description="labels, groups: by label or group; 1 for the others"
    )
    clients: tuple[str, ...] = Field((), description="listed: their names")
    strategy: str | None = Field(None, description="adaptive: label of the one whose models are seen; default: the first")
    score: Literal["highest", "lowest"] = Field("highest", description="adaptive: who asks next")

    @model_validator(mode="after")
    def _fits(self) -> "OrderSpec":
        _only(self, ORDER_TAKES, "stream.order")
        if self.name in ("labels", "groups") and not self.weights:
            raise ValueError(f"stream.order: {self.name} needs weights, as in {{positive: 3}}")
        if self.name == "listed" and (not self.clients or len(set(self.clients)) < len(self.clients)):
            raise ValueError("stream.order: listed needs clients, each once")
        return self

    @property
    def reads_data(self) -> bool:
        """Whether it depends on what clients have."""
        return self.name in ("largest", "smallest", "labels", "groups")


class AgentSpec(Strict):
    """Requests come through agents who bring several at once; how many is Pareto distributed, rounded down."""

    shape: float = Field(1.16, gt=1, description="of the Pareto distribution from 1 on; its mean is shape / (shape - 1)")
    most: int = Field(1000, ge=1, description="requests that one agent brings")


class Rate(Strict):
    """A Poisson process of its own."""

    per_year: Positive = Field(description="expected in 365 days")


class Days(Strict):
    """Simulated days."""

    days: tuple[Positive, ...] = Field(min_length=1)
