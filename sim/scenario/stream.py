"""The ``stream`` section of a scenario: what happens when, in simulated time."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from clients.strict import Strict
from sim.scenario.arrivals import AgentSpec, ArrivalSpec, Days, OrderSpec, Positive, Rate


class ReleaseSpec(Strict):
    """When models are published again: requests wait for it and are carried out together, at whatever comes first."""

    every: int | None = Field(1, ge=1, description="requests per release; 1: at once. Default 1 where nothing else is given")
    days: Positive | None = Field(None, description="a release every so many days, if somebody waits")
    calendar: tuple[float | date, ...] | None = Field(None, description="releases on these days or dates, if somebody waits")
    before_deadline: float | None = Field(
        None, ge=0, description="as late as stream.deadline allows, by this many days: the time that a release takes"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        if isinstance(value, dict) and any(value.get(key) is not None for key in ("days", "calendar", "before_deadline")):
            return {"every": None} | value
        return value

    @model_validator(mode="after")
    def _fits(self) -> "ReleaseSpec":
        if (self.every, self.days, self.calendar, self.before_deadline) == (None, None, None, None):
            raise ValueError("stream.release: give every, days, calendar or before_deadline")
        given = [key for key in ("days", "calendar", "before_deadline") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"stream.release: {' and '.join(given)} are two plans; keep one, with every if wanted")
        return self

    @property
    def plain(self) -> bool:
        """Whether releases follow from the number of requests alone."""
        return self.days is None and self.calendar is None and self.before_deadline is None


class OfflineSpec(Strict):
    """When clients cannot be reached. It matters only where a deletion needs the client's vector, derived again."""

    probability: float = Field(0.0, ge=0, le=0.99, description="that a leaving client cannot be reached at a release")
    calendar: dict[str, tuple[tuple[float, float], ...]] = Field(
        {},
        description="by client the days on which it cannot be reached, as in {u3: [[10, 20]]}: from 10 on, before 20",
    )
    policy: Literal["wait", "rebuild"] = Field(
        "wait", description="wait: until the client is back; rebuild: everything under the rule at once, without it"
    )

    @field_validator("calendar")
    @classmethod
    def _intervals(cls, calendar: dict[str, tuple[tuple[float, float], ...]]) -> dict[str, tuple[tuple[float, float], ...]]:
        for client, intervals in calendar.items():
            for first, last in intervals:
                if not 0 <= first < last < float("inf"):
                    raise ValueError(f"{client}: [{first:g}, {last:g}] is no span of days; the first comes before the last")
        return calendar


class StreamSpec(Strict):
    """Events in simulated time."""

    arrivals: ArrivalSpec = Field(default_factory=ArrivalSpec)
    order: OrderSpec = Field(default_factory=OrderSpec)
    agents: AgentSpec | None = Field(None, description="requests come in lots; default: each for itself")
    population: int | None = Field(None, ge=1, description="unmerge simulate: clients of the service; default: data.clients")
    join: int | None = Field(None, ge=1, description="clients who join, drawn at random; default: all but the unseen")
    unseen: int = Field(0, ge=0, description="clients who never join and are evaluated under what anybody is served")
    requests: int | None = Field(None, ge=0, description="to be forgotten; default: a quarter of the clients")
    examples: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)] = Field(
        0,
        description="how many of the requests are for some of a client's examples; with a point, as 0.5 or 1.0: a share",
    )
    rows: Annotated[int, Field(ge=1)] = Field(1, description="examples that such a request names")
    joins: Annotated[int, Field(ge=0)] | Rate = Field(
        0, description="newcomers during the stream, of those who neither join at first nor are unseen; or {per_year: 10}"
    )
    returns: Annotated[int, Field(ge=0)] | Rate = Field(
        0,
        description="clients who come back some time after they were forgotten; or {per_year: 10}, as far as there are",
    )
    days: float = Field(365.0, gt=0, description="simulated time over which requests arrive")
    start: date | None = Field(None, description="the date of day 0, where a calendar or a trace has dates")
    deadline: Positive | None = Field(45.0, description="days from arrival to publication after which a request is late")
    evaluate_after: tuple[int, ...] | Days | Literal["releases"] | None = Field(
        None,
        description="numbers of requests, joins and returns; {days: [90, 180]}; or releases: after each; default: all",
    )
    release: ReleaseSpec = Field(default_factory=ReleaseSpec)
    offline: OfflineSpec = Field(default_factory=OfflineSpec)

    @property
    def counted(self) -> bool:
        """Whether the number of events is known before they are drawn."""
        return self.arrivals.name == "uniform" and not isinstance(self.joins, Rate) and not isinstance(self.returns, Rate)

    @property
    def partial(self) -> int:
        """Requests for some examples, where the number of requests is known."""
        return share(self.examples, self.requests or 0)

    @property
    def events(self) -> int:
        """Requests, joins and returns, as far as their number is known before they are drawn."""
        return (self.requests or 0) + sum(each for each in (self.joins, self.returns) if isinstance(each, int))


def share(examples: float, requests: int) -> int:
    """How many of so many requests are for examples: a number, or a share of them."""
    return round(examples * requests) if isinstance(examples, float) else examples


def resolved(stream: StreamSpec, everybody: int) -> StreamSpec:
    """The stream with its defaults filled in and checked against the number of clients.

    Raises:
        ValueError: they do not go together.
    """
    everybody = stream.population or everybody
    clients = everybody - stream.unseen if stream.join is None else stream.join
    if not 0 < clients <= everybody - stream.unseen:
        raise ValueError(
            f"stream.join: {clients} who join and {stream.unseen} unseen make {clients + stream.unseen}, "
            f"but {'stream.population' if stream.population else 'data.clients'} is {everybody}"
        )
    stream = stream.model_copy(update={"join": clients, "release": _dated(stream)})
    _check_time(stream)
    _check_order(stream)
    others = everybody - clients - stream.unseen
    if isinstance(stream.joins, int) and stream.joins > others:
        raise ValueError(
            f"stream.joins: {stream.joins} newcomers, but {others} clients neither join at first nor are unseen"
        )
    if stream.arrivals.name != "uniform":
        if stream.requests is not None:
            raise ValueError(
                f"stream.requests: {stream.arrivals.name} arrivals decide the number of requests; leave requests out"
            )
        return stream
    requests = clients // 4 if stream.requests is None else stream.requests
    if requests > clients:
        raise ValueError(f"stream.requests: {requests} requests, but only {clients} clients join; at most {clients}")
    stream = stream.model_copy(update={"requests": requests})
    if stream.partial + (stream.returns if isinstance(stream.returns, int) else 0) > requests:
        raise ValueError(
            f"stream.examples ({stream.examples}) and stream.returns ({stream.returns}): together they can be "
            f"stream.requests = {requests} at most, since only who was forgotten whole comes back"
        )
    return stream.model_copy(update={"evaluate_after": _evaluate_after(stream)}) if stream.counted else stream


def _evaluate_after(stream: StreamSpec) -> tuple[int, ...] | Days | Literal["releases"]:
    """After which numbers of requests, where these are known; by default after all."""
    after = stream.evaluate_after if stream.evaluate_after is not None else (stream.events,) * (stream.events > 0)
    if not isinstance(after, tuple):
        return after
    every = stream.release.every
    for count in after:
        if not 0 < count <= stream.events:
            raise ValueError(f"stream.evaluate_after: {count} is not between 1 and stream.requests = {stream.events}")
        if stream.release.plain and every is not None and count % every and count != stream.events:
            raise ValueError(
                f"stream.evaluate_after: after {count} requests nothing has been published since "
                f"{count - count % every}, because stream.release.every = {every}; use multiples of it"
            )
    return tuple(sorted(set(after)))


def _dated(stream: StreamSpec) -> ReleaseSpec:
    """The release plan with its dates as days, in order."""
    if (calendar := stream.release.calendar) is None:
        return stream.release
    if stream.start is None and any(isinstance(each, date) for each in calendar):
        raise ValueError("stream.release.calendar: dates need stream.start, the date of day 0")
    start = stream.start or date.min
    days = tuple(float((each - start).days) if isinstance(each, date) else float(each) for each in calendar)
    if not days or min(days) < 0 or list(days) != sorted(set(days)):
        raise ValueError("stream.release.calendar: days follow each other, none before day 0")
    return stream.release.model_copy(update={"calendar": days})


def _check_time(stream: StreamSpec) -> None:
    margin = stream.release.before_deadline
    if margin is None:
        return
    if stream.deadline is None:
        raise ValueError("stream.release.before_deadline: needs stream.deadline")
    if margin >= stream.deadline:
        raise ValueError(
            f"stream.release.before_deadline: {margin:g} days before the deadline is before the request arrives; "
            f"stream.deadline is {stream.deadline:g} days"
        )


def _check_order(stream: StreamSpec) -> None:
    order, arrivals = stream.order, stream.arrivals
    if arrivals.name == "trace" and (
        order.name != "uniform" or stream.agents or stream.examples or stream.joins or stream.returns
    ):
        raise ValueError(
            "stream.arrivals: a trace says who asks for what; leave order, agents, examples, joins and returns out"
        )
    if order.name == "adaptive" and (stream.examples or stream.returns):
        raise ValueError(
            "stream.order: adaptive asks for whole clients, chosen at a release; leave examples and returns out"
        )
    if stream.population is not None and order.reads_data:
        raise ValueError(f"stream.order: {order.name} needs data, and clients of a stream.population have none")
    if order.name == "listed" and stream.requests is not None and stream.requests - stream.partial > len(order.clients):
        raise ValueError(f"stream.order: {len(order.clients)} clients are listed for {stream.requests} requests")
