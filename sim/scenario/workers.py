"""The ``workers`` section of a scenario: who does the work, and with how much of the machine."""

from typing import Any, Literal

from pydantic import Field, model_validator

from clients.strict import Strict

Kind = Literal["inline", "ray", "flower"]


class WorkersSpec(Strict):
    """Who does the work, and with how much of the machine."""

    learn: Kind = Field("flower", description="who tunes the clients when they join")
    stream: Kind = Field("ray", description="who plays the stream of requests")
    count: int = Field(2, ge=1, description="workers at a time")
    cpus: float = Field(1, gt=0, description="share of CPUs of one worker")
    gpus: float = Field(0, ge=0, description="share of GPUs of one worker")
    watts: float | None = Field(None, gt=0, description="power of one worker at work, for the energy in unmerge simulate")
    cohort: int = Field(4, ge=1, description="clients per message")
    address: str | None = Field(None, description="a Ray cluster (auto, ray://host:10001); none: start one here")
    checkpoint_seconds: float = Field(60, gt=0, description="learning is saved every so often; a killed run repeats no more")
    allow_missing: int = Field(0, ge=0, description="clients who may fail to be tuned; with more the exit code is 1")
    share_deletions: bool = Field(
        False, description="in a study: a deletion may take a vector that learning has derived from the store of parts"
    )
    timeout: float = Field(3600, gt=0, description="flower: seconds without answer or sign of life until a node is given up")

    @model_validator(mode="before")
    @classmethod
    def _kind_sets_both(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "kind" not in value:
            return value
        rest = {key: item for key, item in value.items() if key != "kind"}
        if clash := sorted({"learn", "stream"} & rest.keys()):
            raise ValueError(f"workers.kind sets learn and stream both: leave out either it or {' and '.join(clash)}")
        return {**rest, "learn": value["kind"], "stream": value["kind"]}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        made = handler.resolve_ref_schema(handler(core))
        made["properties"]["kind"] = made["properties"]["learn"] | {"description": "sets learn and stream both"}
        made["properties"]["kind"].pop("default", None)
        return made
