"""Makes ``helpdesk.jsonl``, the small table of ``table.yaml``: tickets of an invented company, with the team that took each.

    python scenarios/helpdesk.py

Which team takes a ticket depends on what it is about *and* on the user's own department, so that models tuned on one
user's tickets know something that the others do not.
"""

import json
import random
from pathlib import Path

TEAMS = ("billing", "hardware", "network", "account")
THINGS = {
    "billing": ["the invoice", "a refund", "the yearly plan", "a double charge", "the purchase order"],
    "hardware": ["my laptop", "the printer", "a broken screen", "the keyboard", "the docking station"],
    "network": ["the wifi", "the vpn", "a slow connection", "the proxy", "the shared drive"],
    "account": ["my password", "a locked login", "two-factor codes", "a new user", "access rights"],
}
OPENINGS = ["Please look at", "Help with", "Trouble with", "Again on", "I cannot work because of", "Problem with"]
ENDINGS = [
    "since this morning",
    "since the update",
    "before the meeting",
    "in our office",
    "for a colleague",
    "as last week",
]
USERS, TICKETS = 40, 20


def rows() -> list[tuple[str, str, str]]:
    """(user, text, team) of every ticket; the same every time."""
    rng = random.Random("helpdesk")
    made = []
    for user in range(USERS):
        moved = dict(zip(TEAMS, rng.sample(TEAMS, len(TEAMS)), strict=True))  # this department's own routing
        for _ in range(TICKETS):
            topic = rng.choice(TEAMS)
            text = f"{rng.choice(OPENINGS)} {rng.choice(THINGS[topic])} {rng.choice(ENDINGS)}"
            made.append((f"user{user:02d}", text, moved[topic]))
    return made


if __name__ == "__main__":
    lines = [json.dumps({"user": user, "text": text, "team": team}) for user, text, team in rows()]
    (Path(__file__).parent / "helpdesk.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
