"""Short messages with a sentiment, generated: an embedded stand-in for Sent140, with its columns.

Sentiment shows in three ways. *Opinion words* are few and everybody's. *Slang* has one meaning for everyone, but a user has
a part of it only, and those who write most keep to the older words: a base model pretrained on them has seen no more, and
merging the models of others helps. *Habits* are a user's own: what one loves another hates, so that a local model knows
more than any merged one. Some messages show nothing at all. Every word is invented or harmless; the table of so many users
is always the same, and a user writes the same in each.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from clients.errors import InputError

PEOPLE = 260
"""Who write in a table if no other number is asked for."""
MOST = 100_000
MESSAGES = (12, 70)  # per user
WORDS = (4, 8)  # per message
SHOWN = {"habit": 0.55, "slang": 0.2, "opinion": 0.2, "nothing": 0.05}  # by what a message shows its sentiment
RATE = (0.35, 0.65)  # a user's share of positive messages
SLANG_WORDS = 24  # that a user has, half of them good
OLD_SLANG = 0.4  # share of the slang that is old
HEAVY = 60  # users with so many messages have old slang only

OPINIONS = {True: ["good", "great", "happy", "lovely"], False: ["bad", "awful", "sad", "horrible"]}
WORDS_OF = {
    "good slang": """snazzo zappy glimmy yumbo wowza brillo peachy groovo dandy cheero fabbo lushy mintish primo spiffo zingy
        chuffo delish epico funzo gleamo heyday hoopla jazzy jolly keeno lummy magico nifty ooroo perky plumly
        quicksy razzle rosy shiny skippy smashing sunnyo swellish tiptop topnotch tranq upbeat vibey vivo winsome
        whoopee yaylike yippo zesty zippo zowie ace aglow bangin bliss bouncy bravo breezy bubbly champy cosyo crackin
        daz dreamo fizzy frabjo gemmy giddy goldy gucho hunky kudo pog""",
    "bad slang": """blergh meh yucko grumbo glumly crummo drearo foggo gloomo hisso icko jinxy krud lousy moany naffo oofer
        pants pesky phooey rotto sadsack scuzzo sloggy smoggy soggo sourpuss stinko tackyo tosho ugho vexo wailo
        whiny wonkout wretcho yawny yuckers zonked achy argho bleako bogus botcho bumly clunky creako cringo
        crusty dinko doomy drabbo dudly dullsy eek faily flopso frazz frowny fumo gaaah ghasto gripey grotty
        grudgo harsho humph junky kaput limpo mizzy moldo nixo plonko sulko""",
    "topics": """monday rain coffee football homework snow trains spinach camping karaoke shopping winter jogging opera
        midnight cats dogs onions exams beaches museums meetings mushrooms traffic cinema gardening chess spiders tea
        airports pizza baseball thunder ironing quizzes fishing""",
    "first": """amber brisk calm dusty early fuzzy green icy jumpy keen lucky misty noble olive quiet rusty sandy tidy witty
        zany""",
    "last": """badger comet dune ember fern goose heron iris jackal kettle lynx maple newt otter pine quill raven spruce tern
        wren""",
}
LISTS = {kind: words.split() for kind, words in WORDS_OF.items()}
SLANG = {True: LISTS["good slang"], False: LISTS["bad slang"]}
CHATTER = """just got home|on the way|with my brother|this morning|for an hour|at the station|again today|my sister says|
    and then|in the kitchen|right now|so here it is|after lunch|before work|looking at|talking about|thinking of|
    the whole week|over at the office|back from town|one more time|for the family|some more|who else|next door|
    on the phone|until tonight|yes really|as usual|near the river|since yesterday|with the neighbours|all about|
    waiting for|another round of|the second time|at my place|by the way|a bit of|this and that"""
PHRASES = [phrase.split() for phrase in CHATTER.split("|")]
BEGINNING = datetime(2009, 4, 6, 22, 19, 45)


def rows(config: str | None) -> list[dict[str, Any]]:
    """Messages in the order of their dates, with text, date, user, sentiment (0 negative, 4 positive) and query.

    Args:
        config: how many users there are; 260 if None.

    Raises:
        InputError: it is no number from 1 to 100,000.
    """
    names = people("microblog", [f"{first}_{last}" for first in LISTS["first"] for last in LISTS["last"]], config)
    written = [(name, text, sentiment) for name in names for text, sentiment in _messages(name)]
    random.Random("microblog/order").shuffle(written)
    return [
        {
            "text": text,
            "date": f"{BEGINNING + timedelta(seconds=211 * index):%a %b %d %H:%M:%S} PDT 2009",
            "user": name,
            "sentiment": 4 if sentiment else 0,
            "query": "NO_QUERY",
        }
        for index, (name, text, sentiment) in enumerate(written)
    ]


def people(source: str, names: Sequence[str], config: str | None) -> list[str]:
    """Who writes in a table: of two numbers of people, the fewer are the first of the more.

    Args:
        names: they are taken in an order of the table's own, then once more with a number behind them.
        config: how many; 260 if None.
    """
    if config is not None and not (config.isdecimal() and 1 <= int(config) <= MOST):
        raise InputError(f"data.config: of {source} it is how many people write, from 1 to {MOST}, and not {config!r}")
    count = PEOPLE if config is None else int(config)
    first = random.Random(source).sample(names, PEOPLE)
    there = set(first)
    order = first + [name for name in names if name not in there]
    return [order[at % len(order)] + (str(at // len(order) + 1) if at >= len(order) else "") for at in range(count)]


def _messages(user: str) -> Iterator[tuple[str, bool]]:
    """A user's messages, each with whether it is positive."""
    rng = random.Random(f"microblog/{user}")
    count, rate = rng.randint(*MESSAGES), rng.uniform(*RATE)
    known = OLD_SLANG if count >= HEAVY else 1.0
    slang = {good: rng.sample(SLANG[good][: round(known * len(SLANG[good]))], SLANG_WORDS // 2) for good in (True, False)}
    habits = dict(zip((True, False), rng.sample(LISTS["topics"], 2), strict=True))
    for _ in range(count):
        good = rng.random() < rate
        match rng.choices(list(SHOWN), list(SHOWN.values()))[0]:
            case "habit":
                signs = [habits[good]]
            case "slang":
                signs = rng.sample(slang[good], rng.choice((1, 1, 2)))
            case "opinion":
                signs = [rng.choice(OPINIONS[good])]
            case _:
                signs = []
        yield woven(rng, signs, PHRASES, rng.randint(*WORDS)), good


def woven(rng: random.Random, signs: list[str], phrases: list[list[str]], length: int) -> str:
    """A text of ``length`` words: phrases, the last one cut, and the signs between them."""
    pieces: list[list[str]] = []
    while (left := length - len(signs) - sum(map(len, pieces))) > 0:
        pieces.append(rng.choice(phrases)[:left])
    for sign in signs:
        pieces.insert(rng.randint(0, len(pieces)), [sign])
    return " ".join(word for piece in pieces for word in piece)
