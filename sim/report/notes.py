"""What a person has to know beside the figures: who is missing, whose data are gone, what failed, how it was chosen."""

from collections.abc import Mapping, Sequence

Missing = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By seed and client, under each rule why it could not be tuned."""

SHOWN = 10
"""Clients who are named with their errors; of the others there is a number."""


def notes(
    missing: Missing,
    gone: int,
    failed: Mapping[str, str | None] = {},
    halved: bool = False,
    below: Sequence[str] = (),
    prior: str = "",
) -> list[str]:
    """Lines for terminal and report; none where everybody is there and nothing is chosen on what is reported.

    Args:
        below: strategies that are not clearly above the label prior.
        prior: the label of that.
    """
    lines = []
    for seed, clients in missing.items():
        who = "client is" if len(clients) == 1 else "clients are"
        lines.append(f"Seed {seed}: {len(clients)} {who} missing: they could not be tuned, and are in no mean.")
        for client in sorted(clients)[:SHOWN]:
            lines += [f"  {client} ({rule}): {error}" for rule, error in clients[client].items()]
        if len(clients) > SHOWN:
            lines.append(f"  and {len(clients) - SHOWN} more; summary.json names them.")
    if gone:
        who = "client are" if gone == 1 else "clients are"
        lines.append(
            f"The data of {gone} {who} gone: their scores are those measured before, and later means are without them."
        )
    if halved:
        lines.append(
            "Settings are chosen on half of the members, by the same data that scores are of. Nothing was chosen on the "
            "other half: other_half_before and other_half_after in summary.json."
        )
    if below:
        lines.append(
            f"Not clearly above {prior}, which knows little but how often each client has each label: {', '.join(below)} "
            "(held-in after, 95 % interval of the difference, paired by client: above_prior in summary.json)."
        )
    lines += [f"{label} failed: {reason}. It has no figures there." for label, reason in failed.items() if reason]
    return lines
