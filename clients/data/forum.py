"""Comments of a forum, generated: an embedded stand-in for Reddit, with its columns.

Ten subreddits stand in a ring. Each has words of its own and borrows those of the ones after it, so that a word alone
does not tell which of ten a comment is from, while it mostly tells the two apart that an author writes in: local models,
which know those two, are far ahead of any model for all. Every word is harmless. The
table of so many authors is always the same, and an author writes the same in each.
"""

import random
from collections.abc import Iterator
from typing import Any

from clients.data.microblog import people, woven

COMMENTS = (15, 60)  # per author
WORDS = (5, 10)  # per comment
TOPIC_WORDS = (2, 2, 3, 3)  # per comment, equally likely
BORROWED = (0.5, 0.2, 0.15, 0.15)  # where a topic word is from: the subreddit's own words, or those of the next ones
SHARE = (0.35, 0.65)  # of an author's comments in the first of the two subreddits

SUBREDDITS = {
    name: words.split()
    for name, words in {
        "gardening": """soil seeds compost tomatoes pruning mulch roses weeds shovel greenhouse tulips hedge watering
            roots harvest lettuce beans slugs lawn rake bulbs seedlings orchard ivy basil pots fertilizer
            sunlight shade sprout""",
        "hiking": """trail boots backpack summit ridge tent campfire valley map compass blisters waterfall forest
            switchback altitude ranger meadow creek poles sleeping lantern cliff canyon footpath wilderness
            daypack gaiters pass hut scree""",
        "cycling": """bike pedal chain saddle gears brakes helmet tires spokes handlebar cadence sprint peloton crank
            derailleur commute puncture pump frame velodrome climb descent jersey wheelset lane bottle
            tandem gravel rim cassette""",
        "photography": """lens camera shutter aperture tripod exposure portrait focus flash film negative darkroom zoom
            bokeh filter pixel raw sensor lighting studio contrast composition macro panorama print album
            framing highlights grain iso""",
        "astronomy": """telescope galaxy planet nebula comet orbit saturn jupiter moon eclipse meteor constellation star
            sky observatory eyepiece mars supernova crater cosmos asteroid venus aurora solstice parallax
            cluster dust rings dwarf quasar""",
        "electronics": """circuit resistor capacitor solder voltage diode transistor breadboard wire battery receiver
            relay oscilloscope amplifier antenna fuse inductor multimeter microcontroller switch socket ohm
            chip datasheet polarity current heatsink regulator coil firmware""",
        "boardgames": """dice cards meeple rulebook players board tokens expansion strategy turn dungeon tiles deck
            miniatures coop draft points chess pawn trick bidding auction worker placement hexes campaign
            sleeves box setup winner""",
        "books": """novel chapter author paperback library plot character sequel poem publisher fantasy mystery
            bookshelf translation essay memoir reader hardcover ending narrator prose trilogy bookmark
            edition fiction classic review page biography dialogue""",
        "music": """guitar chord melody drums bass concert vinyl song rhythm tempo piano singer lyrics tune
            orchestra violin amp playlist scale harmony trumpet jam tour festival choir verse chorus riff
            cello flute""",
        "cooking": """oven recipe garlic onion butter pan simmer dough bake spices sauce knife soup roast pepper salt
            flour noodles broth grill whisk stew pastry oil lemon skillet marinade curry rice dessert""",
    }.items()
}
CHATTER = """i think|does anyone know|the other day|in my opinion|thanks for|this is why|it depends on|my friend said|
    you should try|i have never seen|would you say|for a beginner|not sure about|the best part|a lot of|have a look at|
    same here|i was wondering|when it comes to|after a while|the trouble with|if you want|for many years|maybe it is|
    at the weekend|to be fair|more or less|what about|that one with|i agree that|it took me|somebody told me|
    good question|nothing wrong with|as far as i know|on the other hand|there is always|looking forward to""".replace(
    "\n", ""
)
PHRASES = [phrase.split() for phrase in CHATTER.split("|")]
NAMES = {
    "first": """Apple Birch Cedar Dawn Echo Frost Grove Hazel Indigo Juniper Kelp Lilac Moss North Opal Pebble Quartz River
        Sage Thistle""",
    "last": """Baker Carver Drifter Farmer Gazer Hopper Jumper Keeper Lover Maker Nomad Painter Reader Singer Talker Tinker
        Walker""",
}
BEGINNING = 1_512_086_400  # 1 December 2017


def rows(config: str | None) -> list[dict[str, Any]]:
    """Comments in the order of their times, with author, subreddit, body and created_utc (seconds).

    Args:
        config: how many authors there are; 260 if None.

    Raises:
        InputError: it is no number from 1 to 100,000.
    """
    names = people("forum", [a + b for a in NAMES["first"].split() for b in NAMES["last"].split()], config)
    written = [(name, subreddit, body) for name in names for subreddit, body in _comments(name)]
    random.Random("forum/order").shuffle(written)
    return [
        {"author": name, "subreddit": subreddit, "body": body, "created_utc": BEGINNING + 97 * index}
        for index, (name, subreddit, body) in enumerate(written)
    ]


def _comments(author: str) -> Iterator[tuple[str, str]]:
    """An author's comments, each with its subreddit; both subreddits occur."""
    rng = random.Random(f"forum/{author}")
    first, second = rng.sample(list(SUBREDDITS), 2)
    count, share = rng.randint(*COMMENTS), rng.uniform(*SHARE)
    for index in range(count):
        subreddit = first if index < round(share * count) else second
        yield subreddit, _body(rng, list(SUBREDDITS).index(subreddit))


def _body(rng: random.Random, place: int) -> str:
    """Chatter with topic words in it, for the subreddit at a place of the ring."""
    lists = list(SUBREDDITS.values())
    steps = rng.choices(range(len(BORROWED)), BORROWED, k=rng.choice(TOPIC_WORDS))
    topics = [rng.choice(lists[(place + step) % len(lists)]) for step in steps]
    return woven(rng, topics, PHRASES, rng.randint(*WORDS))
