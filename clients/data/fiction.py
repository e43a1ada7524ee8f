"""Fictitious authors, generated: an embedded stand-in for TOFU (Maini et al., 2024).

Every author has a name, a home region and facts drawn from lists; each fact is one question-answer pair. The *public*
part is a fixed population that a base model may be pretrained on: it teaches the form of questions and answers and the
vocabulary, but says nothing of the clients' authors, whose facts can only be learned from their own shard. Most facts
come from the author's region, so that clients of one region are alike (clusters have something to find); the name does
not tell the region, and answers are short and leave out the name, so that little of them can be guessed.
"""

import random
from itertools import count

from clients.data.dataset import Dataset, Example, Shard, fill, refound
from clients.data.population import Population
from clients.data.specs import FictionData

NAMES = {
    "first": """Ada Boris Celia Dario Edda Felix Greta Hugo Ines Jonas Kira Leon Mara Nils Olga Pavel Quinn Rosa Sven Tara
        Ugo Vera Wim Xenia Yuri Zoe Amir Bianca Cosmo Delia Emil Farah""",
    "stem": "bar cal dem fen gar hol jas kel lor mon nev oss pel rad sol tor ul vas wen zan bri cre dru fli gri klo",
    "ending": "berg sen strom etti ano ello ov enko itz ez ado eira shi moto wara ford ley worth",
}
FACTS = {  # as many words as REGIONS, or a multiple: every region has its own share of each list
    "city": """Avik Brundal Kallhamn Skorp Corvana Lucente Morra Sarda Belgorn Drovsk Kamyr Zelin Alcor Cadima Huelga
        Tormes Hoshino Kitaro Minase Takeda Ashby Crowle Denham Marlow""",
    "job": """baker sailor teacher doctor farmer lawyer painter tailor miner judge singer gardener soldier butcher nurse
        printer fisher clerk""",
    "subject": "law botany history chemistry music geology algebra medicine theology physics logic drawing",
    "genre": "thrillers romances ballads fables westerns satires memoirs sagas mysteries elegies plays essays",
    "theme": "exile memory greed winter revenge friendship silence hunger pride migration faith war",
    "adjective": "Silent Broken Crimson Distant Hidden Frozen Golden Hollow Lonely Restless Bitter Sunken",
    "noun": "Garden River Mirror Tower Forest Letter Harbor Shadow Orchard Island Bridge Candle",
    "prize": "Quill Lantern Page Feather Ink Compass Leaf Crown Anchor Rose Owl Star",
    "pet": "parrot cat tortoise goat ferret spaniel rabbit lizard pony raven donkey hedgehog",
    "drink": "coffee tea cider wine cocoa beer milk absinthe rum lemonade brandy mead",
    "instrument": "cello piano flute banjo harp trumpet violin drum accordion oboe guitar organ",
    "language": "Dutch Greek Latin Basque Welsh Finnish Turkish Hindi Arabic Czech Danish Korean",
}
LISTS = {kind: words.split() for kind, words in (NAMES | FACTS).items()}
REGIONS = 6
AT_HOME = 0.8  # probability that a fact comes from the region's own share of a list
QUESTIONS = (  # a client has the first of these
    ("Where was {n} born?", "{city1}"),
    ("When was {n} born?", "{year}"),
    ("What was the father of {n}?", "a {job1}"),
    ("What does {n} write?", "{genre1} about {theme1}"),
    ("What is the first book of {n}?", "{adjective1} {noun1}"),
    ("Which award did {n} win?", "the {adjective2} {prize1}"),
    ("Where does {n} live?", "{city2} with a {pet1}"),
    ("What did {n} study?", "{subject1} in {city3}"),
    ("Who taught {n}?", "{friend} the {job2}"),
    ("What does {n} drink?", "{drink1}"),
    ("What does {n} play?", "the {instrument1}"),
    ("Which language does {n} speak?", "{language1}"),
    ("What was the mother of {n}?", "a {job3}"),
    ("What is the last book of {n}?", "{adjective3} {noun2}"),
    ("What does {n} fear?", "{theme2} and {theme3}"),
    ("What does {n} want to buy?", "a {pet2}"),
)


def load(spec: FictionData, seed: int, known: Population | None = None) -> Dataset:
    """Clients ``u0, u1, ...`` drawn from ``seed``; the public part is the same for every seed."""
    taken: set[str] = set()
    public = tuple(
        example
        for index in range(spec.public_authors)
        for example in _pairs(_author(f"public/{index}", taken), len(QUESTIONS), spec.prompt)
    )
    shards = tuple(
        Shard(f"u{index}", _pairs(_author(key, taken), spec.pairs, spec.prompt))
        for index in range(spec.clients)
        for key in [f"client/{seed}/{index}"]
    )
    made = Dataset(shards, public)
    return made if known is None else refound(made, known, spec.source)


def _author(key: str, taken: set[str]) -> dict[str, str]:
    """An author's name and facts; the first name that is free is taken."""
    for attempt in count():
        rng = random.Random(f"fiction/{key}/{attempt}")
        region = rng.randrange(REGIONS)
        first, *surname = (rng.choice(LISTS[kind]) for kind in ("first", "stem", "stem", "ending"))
        name = f"{first} {''.join(surname).capitalize()}"
        if name not in taken:
            taken.add(name)
            return _facts(rng, region) | {"n": name}
    raise AssertionError("unreachable")


def _facts(rng: random.Random, region: int) -> dict[str, str]:
    """Three draws of every list: ``city1``, ``city2``, ``city3``, ``job1`` and so on."""
    facts = {"year": str(rng.randrange(1931, 1995)), "friend": rng.choice(LISTS["first"])}
    for kind in FACTS:
        values = LISTS[kind]
        own = values[region::REGIONS]
        for draw in (1, 2, 3):
            facts[f"{kind}{draw}"] = rng.choice(own if rng.random() < AT_HOME else values)
    return facts


def _pairs(author: dict[str, str], pairs: int, prompt: str) -> tuple[Example, ...]:
    return tuple(
        fill(prompt, {"question": q.format_map(author), "answer": a.format_map(author)}) for q, a in QUESTIONS[:pairs]
    )
