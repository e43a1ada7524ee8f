"""A scenario: what a user asks for, checked whole before any work starts."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from clients.data.population import Population
from clients.data.specs import FAMILIES, DataSpec, FictionData
from clients.exact import digest
from clients.settings import ModelSpec, Seed, Settings, TuningSpec
from clients.strict import Strict
from sim.scenario.claims import Claim, check
from sim.scenario.stream import StreamSpec, resolved
from sim.scenario.workers import WorkersSpec
from strategies.registry import DEFAULT, REGISTRY, RETRAINED, strategy_of
from strategies.strategy import Parameters, parameters_of


class StrategySpec(Strict):
    """A strategy by name, or a name with its parameters: ``average`` or ``{sift_masks: {keep: 0.5}}``."""

    strategy: str
    parameters: SerializeAsAny[Parameters]

    @property
    def label(self) -> str:
        return self.parameters.label or self.strategy

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError("a strategy is a name, or one name with its parameters, as in {sift_masks: {keep: 0.5}}")
        name, parameters = next(iter(value.items()))
        takes = parameters_of(strategy_of(str(name)))
        try:
            return {"strategy": name, "parameters": takes.model_validate(parameters or {})}
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            known = f"; {name} takes {', '.join(takes.model_fields)}"
            raise ValueError(
                f"{name}.{where}: {first['msg']}{known if first['type'] == 'extra_forbidden' else ''}"
            ) from error

    @model_serializer
    def _to_yaml(self) -> dict[str, Any]:
        return {self.strategy: self.parameters.model_dump(mode="json", exclude_none=True)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        named = [
            {
                "type": "object",
                "properties": {name: parameters_of(strategy).model_json_schema()},
                "required": [name],
                "additionalProperties": False,
            }
            for name, strategy in REGISTRY.items()
        ]
        return {"anyOf": [{"enum": list(REGISTRY)}, {"pattern": ":"}, *named]}


Track = Literal["tensorboard", "mlflow", "wandb", "trackio"]


class ReportSpec(Strict):
    """What is made of the results at the end of a run."""

    html: bool = Field(True, description="write figures and report.html")
    track: Track | tuple[Track, ...] = Field(
        (), description="libraries that are told of the run as it goes on; each is an extra, as in unmerge[mlflow]"
    )

    @property
    def trackers(self) -> tuple[str, ...]:
        """Each library once."""
        return (self.track,) if isinstance(self.track, str) else tuple(dict.fromkeys(self.track))


class Scenario(Strict):
    """One YAML file; every key has a default."""

    name: str = Field("scenario", pattern=r"^[A-Za-z0-9._-]+$")
    seeds: tuple[Seed, ...] = Field((7,), min_length=1, description="the whole run is repeated for each")
    data: DataSpec = Field(default_factory=FictionData)
    model: ModelSpec = Field(default_factory=ModelSpec)
    tuning: TuningSpec = Field(default_factory=TuningSpec)
    strategies: tuple[StrategySpec, ...] = Field(
        default_factory=lambda: tuple(StrategySpec.model_validate(n) for n in DEFAULT),
        min_length=1,
    )
    stream: StreamSpec = Field(default_factory=StreamSpec, validate_default=True)
    workers: WorkersSpec = Field(default_factory=WorkersSpec)
    audit: tuple[Literal["bitwise", "gap"], ...] = Field(
        ("bitwise",),
        description="after the stream. bitwise: is the state that of a rebuild without the forgotten; gap: accuracy on "
        "retained, forgotten and test examples and a membership attack, beside a model that is trained again",
    )
    report: ReportSpec = Field(default_factory=ReportSpec)
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        {},
        description="a study: by key of the scenario, as tuning.steps, the values that it takes, each with each; the key "
        "clients is how many join",
    )
    claims: tuple[Claim, ...] = Field((), description="what the study is to show; its verdicts stand in study.json")
    sizes: dict[str, dict[str, Any]] = Field(
        {}, description="by name, as paper, keys and their values for another size: unmerge run --size paper"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Scenario":
        labels = [spec.label for spec in self.strategies]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(
                f"strategies: {twice[0]} is there twice; give each its own label, as in {{{twice[0]}: {{label: ...}}}}"
            )
        if self.stream.order.name == "groups" and getattr(self.data, "group_column", None) is None:
            raise ValueError("stream.order: groups needs data.group_column, which tables with a client_column take")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each seed once")
        if "gap" in self.audit and RETRAINED not in {spec.strategy for spec in self.strategies}:
            raise ValueError(
                f"audit: gap compares with retraining, and the run has no strategy {RETRAINED}; add it to strategies"
            )
        if "gap" in self.audit and not (getattr(self.data, "test", 0) or getattr(self.data, "validation", 0)):
            known = ", ".join(name for name, family in FAMILIES.items() if "test" in family.model_fields)
            raise ValueError(f"audit: gap needs test examples: data.test above 0, which these families take: {known}")
        if self.claims:
            check(self.claims, self.sweep, labels, self.audit)
        return self

    @field_validator("stream")
    @classmethod
    def _resolve_stream(cls, stream: StreamSpec, info: ValidationInfo) -> StreamSpec:
        """The stream with its defaults filled in and checked against the number of clients."""
        if "data" not in info.data:  # already an error of its own
            return stream
        return resolved(stream, info.data["data"].clients)

    def settings(self, seed: int, population: Population | None = None) -> Settings:
        """What clients need to know, for one of the seeds.

        Args:
            population: as it was written down; None for data that are read for the first time.
        """
        device: Literal["cpu", "cuda"] = "cuda" if self.workers.gpus else "cpu"
        return Settings(
            data=self.data, model=self.model, tuning=self.tuning, seed=seed, device=device, population=population
        )

    def digest(self) -> str:
        """Digest of everything that decides results, but for where files lie; workers and report decide nothing, and
        a sweep, claims and sizes are of many runs."""
        values = self.model_dump(mode="json", exclude={"workers", "report", "sweep", "claims", "sizes"})
        places = [(values["data"], "source"), (values["model"], "base"), (values["stream"]["arrivals"], "source")]
        for holder, key in places + [(one, "source") for one in values["data"].get("sets", ())]:
            if key in holder and Path(holder[key]).is_absolute():
                holder[key] = Path(holder[key]).name
        return digest.of_json(values)


def schema() -> dict[str, Any]:
    """JSON Schema of a scenario file, for editors."""
    made = Scenario.model_json_schema()
    data = made["properties"]["data"]
    data["anyOf"] = data.pop("oneOf")  # without its family a section may fit more than one
    return made | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Unmerge scenario",
    }
