"""What a scenario fixes for every client: data, base model and tuning, checked by pydantic."""

from datetime import date
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, model_validator

from clients.data.population import Population
from clients.data.specs import DataSpec, FictionData
from clients.strict import Strict

ALL_BUT_EMBEDDINGS_AND_HEAD: Final = "all-but-embeddings-and-head"
TINY_GPT2 = "tiny-gpt2"
TINY_CLIP = "tiny-clip"
RESNET_18 = "resnet-18"
EMBEDDED_BASES = (TINY_GPT2, TINY_CLIP, RESNET_18)


Seed = Annotated[int, Field(ge=0, lt=2**32, description="0 to 4294967295, which every library takes")]


class TinyGPT2(Strict):
    """Size and pretraining of the embedded language model."""

    layers: int = Field(2, ge=1)
    width: int = Field(128, ge=8, multiple_of=8)
    heads: int = Field(4, ge=1)
    vocabulary: int = Field(900, ge=300)
    positions: int = Field(256, ge=16)
    steps: int = Field(450, ge=1, description="pretraining steps on the public part")
    batch: int = Field(16, ge=1)
    lr: float = Field(3e-3, gt=0)
    seed: Seed = 0

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "TinyGPT2":
        return _check_heads(self)


class TinyCLIP(Strict):
    """Size and contrastive pretraining of the embedded CLIP; both towers have the same depth, width and heads."""

    layers: int = Field(3, ge=1)
    width: int = Field(64, ge=8, multiple_of=8)
    heads: int = Field(4, ge=1)
    pixels: int = Field(16, ge=8, description="images are resized to squares of this side")
    patch: int = Field(4, ge=2)
    vocabulary: int = Field(600, ge=300)
    steps: int = Field(300, ge=1, description="pretraining steps on the public part")
    batch: int = Field(64, ge=2)
    lr: float = Field(1e-3, gt=0)
    seed: Seed = 0

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "TinyCLIP":
        if self.pixels % self.patch:
            raise ValueError(f"patch ({self.patch}) must divide pixels ({self.pixels})")
        return _check_heads(self)


class TinyResNet(Strict):
    """Size and supervised pretraining of the embedded ResNet-18 (basic blocks, batch norm frozen afterwards)."""

    depths: tuple[int, ...] = Field((2, 2, 2, 2), min_length=1, description="blocks per stage")
    widths: tuple[int, ...] = Field((64, 128, 256, 512), min_length=1, description="channels per stage")
    pixels: int = Field(32, ge=8, description="images are resized to squares of this side")
    steps: int = Field(300, ge=1, description="pretraining steps on the public part")
    batch: int = Field(64, ge=2)
    lr: float = Field(1e-3, gt=0)
    seed: Seed = 0

    @model_validator(mode="after")
    def _as_many_widths(self) -> "TinyResNet":
        if len(self.depths) != len(self.widths):
            raise ValueError(f"depths ({len(self.depths)} stages) and widths ({len(self.widths)}) must be equally many")
        return self


Sized = TypeVar("Sized", TinyGPT2, TinyCLIP)


def _check_heads(sizes: Sized) -> Sized:
    if sizes.width % sizes.heads:
        raise ValueError(f"heads ({sizes.heads}) must divide width ({sizes.width})")
    return sizes


class LoraSpec(Strict):
    """Low-rank adapters (peft): the task vector is of the adapter's parameters, the base model stays as it is."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0, description="the adapter's output is scaled by alpha / rank")
    targets: tuple[str, ...] | None = Field(
        None, description="names of the linear layers that get an adapter, as in [q_proj, v_proj]; default all but the head"
    )
    seed: Seed = Field(0, description="of the adapters' first values, which are part of the base model")


class ModelSpec(Strict):
    """The base model and which of its parameters are tuned."""

    base: str = Field(
        TINY_GPT2,
        description="tiny-gpt2, tiny-clip or resnet-18, pretrained here on the public part; or a causal LM, "
        "encoder-decoder, CLIP or image classifier by hub id or folder",
    )
    tune: Literal["all-but-embeddings-and-head", "all"] | list[str] = Field(
        ALL_BUT_EMBEDDINGS_AND_HEAD, description="or a list of patterns over parameter names, as in ['*.mlp.*']"
    )
    head: Literal["own", "fresh", "labels"] = Field(
        "own",
        description="own: the LM head writes the label's text, CLIP compares with class prompts, a classifier has its own; "
        "fresh: a new, tuned classification head; labels: one made of the label texts' LM-head rows, not tuned",
    )
    max_length: int = Field(256, ge=4, description="tokens of an example; of longer ones, columns lose their beginnings")
    chat: bool = Field(False, description="put prompts into the tokenizer's chat template")
    chat_date: date = Field(date(2024, 7, 26), description="the day that a chat template writes into prompts as today")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the computation; tuned parameters and task vectors are always float32"
    )
    lora: LoraSpec | None = Field(None, description="tune low-rank adapters instead of the model's own parameters")
    gradient_checkpointing: bool = Field(False, description="compute activations again in the backward pass: less memory")
    trust_remote_code: bool = Field(False, description="run code that comes with a hub model")
    tiny: TinyGPT2 = Field(default_factory=TinyGPT2, description="used when base is tiny-gpt2")
    tiny_clip: TinyCLIP = Field(default_factory=TinyCLIP, description="used when base is tiny-clip")
    resnet: TinyResNet = Field(default_factory=TinyResNet, description="used when base is resnet-18")


Beta = Annotated[float, Field(ge=0, lt=1)]


class TuningSpec(Strict):
    """Adam on a client's own shard; a strategy chooses plain or sign-fixed."""

    steps: int = Field(20, ge=1)
    lr: float = Field(3e-3, gt=0)
    batch: Literal["full"] | Annotated[int, Field(ge=1)] = Field("full", description="examples per step")
    micro_batch: int | None = Field(
        None, ge=1, description="examples per pass, in scoring too; a step's gradient is accumulated over several"
    )
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    grid: Literal["auto"] | Annotated[int, Field(ge=0, le=64)] = Field(
        "auto", description="task vectors are summed as whole multiples of 2^-grid; auto: of lr/16384 at most"
    )


class Settings(Strict):
    """Everything a worker needs to know before it is given jobs."""

    data: DataSpec = Field(default_factory=FictionData)
    model: ModelSpec = Field(default_factory=ModelSpec)
    tuning: TuningSpec = Field(default_factory=TuningSpec)
    seed: Seed = 7
    device: Literal["cpu", "cuda"] = "cpu"
    population: Population | None = Field(None, description="as it was written down; none: inferred from the data")
