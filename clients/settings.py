"""What a scenario fixes for every client: data, base model and tuning, checked by pydantic."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

ALL_BUT_EMBEDDINGS_AND_HEAD: Final = "all-but-embeddings-and-head"
TINY_GPT2 = "tiny-gpt2"

TuningKind = Literal["plain", "sign_fixed"]


class Strict(BaseModel):
    """Base of every section: unknown keys are errors and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __hash__(self) -> int:  # pydantic's own fails on lists and dictionaries
        return hash(self.model_dump_json())


def _check_template(template: str) -> str:
    import string

    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"not a template: {error}") from error
    if len(fields) < 2 or not all(fields) or not template.endswith("{" + fields[-1] + "}"):
        raise ValueError(
            "a prompt template names at least two columns in braces and ends with the answer's, "
            "as in 'Question:{question}\\nAnswer:{answer}'"
        )
    return template


Template = Annotated[str, AfterValidator(_check_template)]


class FictionData(Strict):
    """Fictitious authors with question-answer pairs, generated: no files, no network."""

    family: Literal["fiction"] = "fiction"
    source: Literal["fiction"] = "fiction"
    clients: int = Field(40, ge=1, le=5000, description="authors, one client each")
    pairs: int = Field(12, ge=1, le=16, description="question-answer pairs per client")
    public_authors: int = Field(240, ge=8, le=5000, description="authors of the public part, for pretraining")
    prompt: Template = Field("Question:{question}\nAnswer:{answer}", description="the last column is the answer")


class TofuData(Strict):
    """TOFU (Maini et al., 2024): 200 fictitious authors with 20 question-answer pairs each."""

    family: Literal["tofu"] = "tofu"
    source: str = Field("locuslab/TOFU", description="hub id, or a folder in the same layout")
    config: str = Field("full", description="configuration whose rows are dealt to authors in order")
    clients: int = Field(200, ge=1, le=200, description="the first authors of the data set, one client each")
    pairs: int = Field(20, ge=1, le=20, description="question-answer pairs used per client")
    prompt: Template = Field("Question:{question}\nAnswer:{answer}", description="the last column is the answer")


class Partitioner(Strict):
    """A flwr-datasets partitioner by name, for tables without a natural client column."""

    name: Literal["iid", "dirichlet", "pathological", "shard"] = "iid"
    alpha: float = Field(0.5, gt=0, description="dirichlet: concentration")
    classes: int = Field(2, ge=1, description="pathological: labels per client")
    shards: int = Field(2, ge=1, description="shard: shards per client")


class TableData(Strict):
    """Any table: a hub id, a folder in hub layout, or a CSV, JSONL or parquet file."""

    family: Literal["table"] = "table"
    source: str = Field(description="hub id, folder, or .csv/.jsonl/.json/.parquet file")
    config: str | None = Field(None, description="configuration of a hub data set or folder")
    split: str = Field("train", description="split to read")
    prompt: Template = Field(description="columns in braces; the last one is the answer or label")
    labels: bool | list[str] = Field(
        True, description="true: rank all label texts that occur; a list: rank these; false: the answer is free text"
    )
    label_names: dict[str, str] = Field({}, description="label value to label text, as in {'0': negative, '4': positive}")
    client_column: str | None = Field(None, description="column that says whose row it is")
    partitioner: Partitioner | None = Field(None, description="how to deal rows where no column says it")
    clients: int = Field(20, ge=1, le=5000, description="clients used: the ones with most examples")
    minimum: int = Field(8, ge=1, description="clients with fewer examples are left out")
    maximum: int | None = Field(None, ge=1, description="examples used per client, the first ones")
    validation: float = Field(0.2, ge=0, lt=1, description="share of a client's examples kept for validation")
    public_clients: int = Field(0, ge=0, description="clients set aside to pretrain tiny-gpt2 on")

    @model_validator(mode="after")
    def _one_way_to_deal(self) -> "TableData":
        if (self.client_column is None) == (self.partitioner is None):
            raise ValueError("give either client_column or partitioner: they say which client a row belongs to")
        return self


FAMILIES = {"fiction": FictionData, "tofu": TofuData, "table": TableData}


def _family(value: Any) -> str | None:
    if not isinstance(value, dict):
        return getattr(value, "family", None)
    family = value.get("family", value.get("source", "fiction"))
    return family if family in FAMILIES else None


DataSpec = Annotated[
    Annotated[FictionData, Tag("fiction")] | Annotated[TofuData, Tag("tofu")] | Annotated[TableData, Tag("table")],
    Discriminator(
        _family,
        custom_error_type="data_family",
        custom_error_message="data needs a family ({}), which says how the source is read".format(", ".join(FAMILIES)),
    ),
]


class TinyGPT2(Strict):
    """Size and pretraining of the embedded base model."""

    layers: int = Field(2, ge=1)
    width: int = Field(128, ge=8, multiple_of=8)
    heads: int = Field(4, ge=1)
    vocabulary: int = Field(900, ge=300)
    positions: int = Field(256, ge=16)
    steps: int = Field(450, ge=1, description="pretraining steps on the public part")
    batch: int = Field(16, ge=1)
    lr: float = Field(3e-3, gt=0)
    seed: int = 0

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "TinyGPT2":
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class ModelSpec(Strict):
    """The base model and which of its parameters are tuned."""

    base: str = Field(TINY_GPT2, description="tiny-gpt2, or a causal LM by hub id or folder")
    tune: Literal["all-but-embeddings-and-head", "all"] | list[str] = Field(
        ALL_BUT_EMBEDDINGS_AND_HEAD, description="or a list of patterns over parameter names, as in ['*.mlp.*']"
    )
    max_length: int = Field(256, ge=4, description="tokens of an example; longer ones lose their first tokens")
    trust_remote_code: bool = Field(False, description="run code that comes with a hub model")
    tiny: TinyGPT2 = Field(default_factory=TinyGPT2, description="used when base is tiny-gpt2")


class TuningSpec(Strict):
    """Adam on a client's own shard; a strategy chooses plain or sign-fixed."""

    steps: int = Field(20, ge=1)
    lr: float = Field(3e-3, gt=0)
    batch: Literal["full"] | Annotated[int, Field(ge=1)] = Field("full", description="examples per step")
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)


class Settings(Strict):
    """Everything a worker needs to know before it is given jobs."""

    data: DataSpec = Field(default_factory=FictionData)
    model: ModelSpec = Field(default_factory=ModelSpec)
    tuning: TuningSpec = Field(default_factory=TuningSpec)
    seed: int = Field(7, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
