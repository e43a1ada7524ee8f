"""The ``stream`` section of a scenario: what happens when, in simulated time."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from clients.strict import Strict


class ReleaseSpec(Strict):
    """When models are published again: requests wait for it and are carried out together."""

    every: int = Field(1, ge=1, description="requests per release")


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

    order: Literal["uniform"] = "uniform"
    join: int | None = Field(None, ge=1, description="clients who join, drawn at random; default: all but the unseen")
    unseen: int = Field(0, ge=0, description="clients who never join and are evaluated under what anybody is served")
    requests: int | None = Field(None, ge=0, description="to be forgotten; default: a quarter of the clients")
    examples: int = Field(0, ge=0, description="how many of the requests are for some of a client's examples only")
    rows: Annotated[int, Field(ge=1)] = Field(1, description="examples that such a request names")
    joins: int = Field(0, ge=0, description="newcomers during the stream, of those who neither join at first nor are unseen")
    returns: int = Field(0, ge=0, description="clients who come back some time after they were forgotten")
    days: float = Field(365.0, gt=0, description="simulated time over which requests arrive")
    evaluate_after: tuple[int, ...] | None = Field(
        None, description="numbers of requests, with joins and returns; default: all of them"
    )
    release: ReleaseSpec = Field(default_factory=ReleaseSpec)
    offline: OfflineSpec = Field(default_factory=OfflineSpec)

    @property
    def events(self) -> int:
        """Requests, joins and returns."""
        return (self.requests or 0) + self.joins + self.returns


def resolved(stream: StreamSpec, everybody: int) -> StreamSpec:
    """The stream with its defaults filled in and checked against the number of clients.

    Raises:
        ValueError: they do not go together.
    """
    every = stream.release.every
    clients = everybody - stream.unseen if stream.join is None else stream.join
    if not 0 < clients <= everybody - stream.unseen:
        raise ValueError(
            f"stream.join: {clients} who join and {stream.unseen} unseen make {clients + stream.unseen}, "
            f"but data.clients is {everybody}"
        )
    requests = clients // 4 if stream.requests is None else stream.requests
    stream = stream.model_copy(update={"join": clients, "requests": requests})
    others = everybody - clients - stream.unseen
    if requests > clients:
        raise ValueError(f"stream.requests: {requests} requests, but only {clients} clients join; at most {clients}")
    if stream.joins > others:
        raise ValueError(
            f"stream.joins: {stream.joins} newcomers, but {others} clients neither join at first nor are unseen"
        )
    if stream.examples + stream.returns > requests:
        raise ValueError(
            f"stream.examples ({stream.examples}) and stream.returns ({stream.returns}): together they can be "
            f"stream.requests = {requests} at most, since only who was forgotten whole comes back"
        )
    after = stream.evaluate_after if stream.evaluate_after is not None else (stream.events,) * (stream.events > 0)
    for count in after:
        if not 0 < count <= stream.events:
            raise ValueError(f"stream.evaluate_after: {count} is not between 1 and stream.requests = {stream.events}")
        if count % every and count != stream.events:
            raise ValueError(
                f"stream.evaluate_after: after {count} requests nothing has been published since "
                f"{count - count % every}, because stream.release.every = {every}; use multiples of it"
            )
    return stream.model_copy(update={"evaluate_after": tuple(sorted(set(after)))})
