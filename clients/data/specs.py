"""The ``data`` section of a scenario: one class per family, checked by pydantic."""

import string
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    field_validator,
    model_validator,
)

from clients import outside
from clients.strict import Strict


def _check_template(template: str) -> str:
    try:
        pieces = [(name, spec or how) for _, name, spec, how in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"not a template: {error}") from error
    fields = [name for name, _ in pieces]
    for name, formatted in pieces:
        if formatted:
            raise ValueError(
                f"not a template: in braces a prompt template has a column's name alone, which has neither ':' nor '!'; "
                f"values are used as they are written, so give {{{name}}}"
            )
    if len(fields) < 2 or not all(fields) or not template.endswith("{" + fields[-1] + "}"):
        raise ValueError(
            "a prompt template names at least two columns in braces and ends with the answer's, "
            "as in 'Question:{question}\\nAnswer:{answer}'"
        )
    return template


Template = Annotated[str, AfterValidator(_check_template)]


def _text(value: Any) -> Any:
    """A key that stands for what is in a table, as YAML may have read it."""
    if isinstance(value, bool):
        words = "yes, on and true" if value else "no, off and false"
        raise ValueError(f"YAML reads {words} as one truth value; write in quotes what stands in the table")
    if isinstance(value, float | date) or value is None:
        raise ValueError(f"YAML reads {value} as {type(value).__name__}; write in quotes what stands in the table")
    return str(value) if isinstance(value, int) else value


def _texts(value: Any) -> Any:
    """The same of each item of a list, or each key and value of a mapping."""
    if isinstance(value, list | tuple):
        return [_text(each) for each in value]
    return {_text(key): _text(each) for key, each in value.items()} if isinstance(value, dict) else value


Text = Annotated[str, BeforeValidator(_text)]
Column = Annotated[str | None, BeforeValidator(lambda value: value if value is None else _text(value))]


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
    """A flwr-datasets partitioner by name, for rows that no column gives to a client."""

    name: Literal[
        "iid", "dirichlet", "pathological", "label_subsets", "shard", "sizes", "linear", "square", "exponential"
    ] = Field("iid", description="label_subsets: disjoint subsets of labels, dealt evenly within each")
    alpha: float = Field(0.5, gt=0, description="dirichlet: concentration")
    classes: int = Field(2, ge=1, description="pathological, label_subsets: labels per client")
    shards: int = Field(2, ge=1, description="shard: shards per client")
    sizes: tuple[int, ...] = Field((), description="sizes: rows of each client")

    @model_validator(mode="after")
    def _sizes_are_given(self) -> "Partitioner":
        if (self.name == "sizes") != bool(self.sizes) or min(self.sizes, default=1) < 1:
            raise ValueError("sizes: a list of rows per client, with name: sizes and only there")
        return self


Part = Annotated[float, Field(ge=0, lt=1)] | Annotated[int, Field(ge=1)]
PRESETS: dict[str, dict[str, Any]] = {"papers": {"minimum": 110, "maximum": 110, "validation": 0, "test": 10}}


class Dealt(Strict):
    """What all families share in which rows are dealt to clients."""

    clients: int = Field(20, ge=1, le=100_000, description="clients used: the ones with most examples")
    minimum: int = Field(8, ge=1, description="clients with fewer examples are left out")
    maximum: int | None = Field(None, ge=1, description="examples used per client, drawn by the seed")
    validation: Part = Field(0.1, description="examples of a client that settings are chosen on, as a share or a number")
    test: Part = Field(0.2, description="examples of a client that are reported, as a share or a number")
    preset: Literal["papers"] | None = Field(
        None,
        description="papers: 100 + 10 examples per client, as in ClAMU; settings are chosen on half of the members. "
        "It is a set of defaults: keys that are given count",
    )
    public_clients: int = Field(0, ge=0, description="clients set aside to pretrain an embedded base model on")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        return PRESETS.get(str(value.get("preset")), {}) | value if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _leaves_training(self) -> "Dealt":
        if max(self.validation, self.test) < 1 <= self.validation + self.test:
            raise ValueError("validation and test: shares that leave something to train on, together less than 1")
        return self


def _delimiter(value: str) -> str:
    made = {"\\t": "\t", "tab": "\t"}.get(value, value)
    if len(made) != 1 or made in '"\r\n':
        raise ValueError("one character, as ';' or '|', or tab")
    return made


def _encoding(value: str) -> str:
    try:
        "a".encode(value)
    except LookupError as error:
        raise ValueError("no encoding that Python knows; take utf-8, utf-16, cp1252, latin-1, ...") from error
    return value


def _differ(columns: tuple[str, ...]) -> tuple[str, ...]:
    if not columns or len(set(columns)) < len(columns):
        raise ValueError("a name for each column of the file, in order, each once")
    return columns


class Written(Dealt):
    """What all families of texts share in how local text files are written."""

    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = Field(
        None, description="between the cells of CSV files, as ';'; default a comma, in .tsv a tab"
    )
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(
        None, description="of CSV and JSON files, as cp1252; default utf-8"
    )
    columns: Annotated[tuple[Text, ...], AfterValidator(_differ)] | None = Field(
        None, description="names of all columns of CSV files that have no header"
    )


class TableData(Written):
    """Any table: a hub id, a folder of files or in hub layout, or a CSV, JSON or parquet file."""

    family: Literal["table"] = "table"
    source: str = Field(description="hub id, folder, or .csv/.tsv/.jsonl/.json file (or .gz of these), or .parquet file")
    config: str | None = Field(None, description="configuration of a hub data set or folder")
    split: str = Field("train", description="split to read")
    prompt: Template = Field(description="columns in braces; the last one is the answer or label")
    labels: Annotated[bool | list[str], BeforeValidator(_texts)] = Field(
        True, description="true: rank all label texts that occur; a list: rank these; false: the answer is free text"
    )
    label_names: Annotated[dict[str, str], BeforeValidator(_texts)] = Field(
        {}, description="label value to label text, as in {0: negative, 4: positive}"
    )
    client_column: Column = Field(None, description="column that says whose row it is")
    group_column: Column = Field(
        None, description="column whose most frequent value in a client's rows is its group; stream.order may weigh groups"
    )
    partitioner: Partitioner | None = Field(None, description="how to deal rows where no column says it")

    @model_validator(mode="after")
    def _one_way_to_deal(self) -> "TableData":
        if (self.client_column is None) == (self.partitioner is None):
            raise ValueError("give either client_column or partitioner: they say which client a row belongs to")
        if self.group_column is not None and self.client_column is None:
            raise ValueError("group_column needs client_column: a partitioner's clients are nobody, and in no group")
        return self


class Sent140Data(Written):
    """Sent140: tweets with their sentiment, users as clients. ``source: microblog`` is the embedded stand-in."""

    family: Literal["sent140"] = "sent140"
    source: str = Field("stanfordnlp/sentiment140", description="hub id, folder, or microblog")
    config: Column = Field(None, description="configuration of a folder; of microblog, how many users, else 260")
    split: str = "train"
    prompt: Template = Field("Tweet:{text}\nSentiment:{sentiment}", description="the last column is the label")
    clients: int = Field(500, ge=1, le=100_000, description="users with most tweets")


class RedditData(Written):
    """Reddit: comments with their subreddit, authors as clients. ``source: forum`` is the embedded stand-in."""

    family: Literal["reddit"] = "reddit"
    source: str = Field(description="hub id, folder or file with author, subreddit and body; or forum")
    config: Column = Field(
        None, description="configuration of a hub data set or folder; of forum, how many authors, else 260"
    )
    split: str = "train"
    subreddits: Annotated[Annotated[int, Field(ge=2)] | list[str], BeforeValidator(_texts)] = Field(
        20, description="the subreddits that are labels, or how many of the most frequent ones"
    )
    bots: bool = Field(False, description="keep authors whose names are those of bots or deleted accounts")
    prompt: Template = Field("Comment:{body}\nSubreddit:{subreddit}", description="the last column is the label")
    partitioner: Partitioner | None = Field(
        None, description="deal comments instead of taking authors, as ClAMU does: {name: pathological, classes: 2}"
    )
    clients: int = Field(500, ge=1, le=100_000, description="authors with most comments")


class StackOverflowData(Written):
    """Stack Overflow: posts with a single tag of a list, users as clients."""

    family: Literal["stackoverflow"] = "stackoverflow"
    source: str = Field("mikex86/stackoverflow-posts", description="hub id, folder or file")
    config: str | None = Field(None, description="configuration of a hub data set or folder")
    split: str = "train"
    user_column: Text = "OwnerUserId"
    tags_column: Text = Field("Tags", description="a list of tags, or one text as in '<python><list>' or 'python list'")
    tags: Annotated[Annotated[int, Field(ge=2)] | list[str], BeforeValidator(_texts)] = Field(
        10, description="the tags that are labels, or how many of the most frequent ones"
    )
    prompt: Template = Field("Post:{Body}\nTag:{tag}", description="columns; the last one is the label, tag")
    clients: int = Field(500, ge=1, le=100_000, description="users with most posts")


class ImageSet(Strict):
    """One image data set of a suite, as ``tanganke/dtd`` or ``{source: FOLDER, config: mnist}``."""

    source: str = Field(description="hub id, folder or file; or digits, the embedded one")
    config: str | None = Field(None, description="configuration of a hub data set or folder")
    split: str = Field("train", description="split to read, or several as in train+test")
    image: Text = Field("image", description="column of pictures")
    label: Text = Field("label", description="column of class names, or of numbers with names")
    caption: str | None = Field(
        None, description="class prompt for CLIP's text encoder, as in 'a photo of a {label}.'; default the set's own"
    )

    @property
    def name(self) -> str:
        """Short name, as of clients: ``dtd``."""
        return self.config or Path(self.source).stem

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @field_validator("caption")
    @classmethod
    def _names_the_label(cls, caption: str | None) -> str | None:
        if caption is not None and caption.count("{label}") != 1:
            raise ValueError("a caption holds {label} once, as in 'a photo of a {label}.'")
        return caption


class ImageData(Dealt):
    """Images of one or several data sets; a client belongs to one of them."""

    family: Literal["images"] = "images"
    sets: tuple[ImageSet, ...] = Field(
        (ImageSet(source="tanganke/dtd"), ImageSet(source="tanganke/resisc45"), ImageSet(source="ylecun/mnist")),
        min_length=1,
        description="image data sets; clients are allotted to them evenly, as far as each has images",
    )
    client_column: Column = Field(None, description="column that says whose image it is, as writer")
    partitioner: Partitioner | None = Field(
        None, description="how to deal images where no column says it: default iid (CLIP i); label_subsets is CLIP (ii)"
    )
    clients: int = Field(500, ge=1, le=100_000, description="clients over all sets")
    minimum: int = Field(20, ge=1, description="clients with fewer images are left out")
    maximum: int = Field(110, ge=1, description="images used per client")

    @property
    def source(self) -> str:
        return ", ".join(each.source for each in self.sets)

    @model_validator(mode="after")
    def _sets_differ(self) -> "ImageData":
        names = [each.name for each in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(
                f"sets: two are called {max(names, key=names.count)!r}; a set is called by its config or source"
            )
        if self.client_column is not None and self.partitioner is not None:
            raise ValueError("give either client_column or partitioner: they say which client an image belongs to")
        return self


class OutsideData(Strict):
    """A family from outside: ``family: module:Class`` names a subclass, whose fields are the keys of the section.

    A subclass has ``load``; it is held to what every family is: the same section and seed give the same shards.
    """

    family: str = Field(description="module:Class, a subclass of clients.data.specs.OutsideData")
    source: str = Field("", description="where the data are, if the family reads any")
    clients: int = Field(20, ge=1, le=100_000)

    def load(self, seed: int) -> Any:
        """The ``clients.data.dataset.Dataset`` of this section."""
        raise NotImplementedError(f"{self.family}: has no load(seed)")


def _outside(value: Any) -> Any:
    """The section as the class that it names has it."""
    if isinstance(value, OutsideData):
        return value
    return outside.load_class(value["family"], OutsideData).model_validate(value)


FAMILIES: dict[str, type[Strict]] = {
    "fiction": FictionData,
    "tofu": TofuData,
    "table": TableData,
    "sent140": Sent140Data,
    "reddit": RedditData,
    "stackoverflow": StackOverflowData,
    "images": ImageData,
}


OUTSIDE = "outside"
EMBEDDED = {"fiction": "fiction", "microblog": "sent140", "forum": "reddit", "digits": "images"}
"""Sources that need no files and no network, and the family that reads each."""


def _family(value: Any) -> str | None:
    if not isinstance(value, dict):
        return OUTSIDE if isinstance(value, OutsideData) else getattr(value, "family", None)
    source = value.get("source", "images" if "sets" in value else "fiction")
    family = value.get("family", EMBEDDED.get(source, source) if isinstance(source, str) else None)
    if isinstance(family, str) and outside.is_outside(family) and "family" in value:
        return OUTSIDE
    return family if family in FAMILIES else None


DataSpec = Annotated[
    Annotated[FictionData, Tag("fiction")]
    | Annotated[TofuData, Tag("tofu")]
    | Annotated[TableData, Tag("table")]
    | Annotated[Sent140Data, Tag("sent140")]
    | Annotated[RedditData, Tag("reddit")]
    | Annotated[StackOverflowData, Tag("stackoverflow")]
    | Annotated[ImageData, Tag("images")]
    | Annotated[SerializeAsAny[OutsideData], BeforeValidator(_outside), Tag(OUTSIDE)],
    Discriminator(
        _family,
        custom_error_type="data_family",
        custom_error_message="data needs a family ({}), which says how the source is read, or module:Class".format(
            ", ".join(FAMILIES)
        ),
    ),
]
