"""The synthetic stand-ins: texts of a seeded probabilistic grammar, for machines without the public sets.

A document binds a few entities (invented names, things with colours, places, numbers) and tells about them in
sentences that must agree with what was said before: a name of several tokens comes back, a thing keeps its colour, a
list is repeated in order, a pronoun follows the name's ending. So there is something for layers that look back to find,
and something for layers that know the language. `stories` stand in for BabiStories, `pages` for web text of DCLM.

It says nothing about the real sets: every score on it is marked synthetic. Not covered: variety. The grammar has some
hundred words.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Style = Literal["stories", "pages"]

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "tr", "st", "gl", "sh", "th")
_VOWELS = ("a", "e", "i", "o", "u")
_COLOURS = ("red", "blue", "green", "yellow", "purple", "silver", "golden", "black", "white", "orange")
_THINGS = ("kite", "ball", "drum", "bell", "boat", "lamp", "ring", "book", "cup", "hat", "key", "box", "stone", "shell")
_PLACES = ("forest", "river", "garden", "castle", "village", "market", "valley", "harbour", "meadow", "mountain")
_KINDS = ("fox", "bear", "rabbit", "bird", "mouse", "cat", "frog", "horse", "owl", "turtle")
_MOODS = ("happy", "sad", "brave", "tired", "proud", "afraid", "kind", "curious")
_TOPICS: Mapping[str, tuple[str, ...]] = {
    "repair": ("engine", "filter", "cable", "screw", "battery", "switch", "sensor", "valve"),
    "cooking": ("butter", "onion", "pepper", "oven", "sauce", "bread", "cheese", "garlic"),
    "travel": ("ticket", "hotel", "train", "museum", "bridge", "island", "ferry", "station"),
    "music": ("guitar", "album", "singer", "concert", "melody", "record", "stage", "chorus"),
}
_UNITS = ("hours", "metres", "dollars", "pages", "degrees", "litres")


@dataclass(frozen=True)
class _Entities:
    """What a document is about; the same everywhere in it."""

    hero: str
    friend: str
    kind: str
    mood: str
    places: tuple[str, ...]
    things: tuple[str, ...]
    topic: str
    words: tuple[str, ...]
    numbers: tuple[str, ...]

    def pronoun(self, name: str) -> str:
        """Names that end in `a` are she."""
        return "she" if name.endswith("a") else "he"


def synthetic_documents(style: Style, count: int, seed: int) -> Iterator[str]:
    """`count` documents; document `i` depends on the seed and `i` alone."""
    tell = _story if style == "stories" else _page
    for index in range(count):
        yield tell(random.Random(f"{style}/{seed}/{index}"))


def _name(rng: random.Random) -> str:
    syllables = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 2, 3))))
    return (syllables + rng.choice(("", "n", "r", "a"))).capitalize()


def _common(rng: random.Random, words: tuple[str, ...]) -> str:
    """A word by Zipf's law: the first of the list is the commonest."""
    return rng.choices(words, [1 / rank for rank in range(1, len(words) + 1)])[0]


def _bind(rng: random.Random) -> _Entities:
    topic = rng.choice(sorted(_TOPICS))
    return _Entities(
        hero=_name(rng),
        friend=_name(rng),
        kind=_common(rng, _KINDS),
        mood=_common(rng, _MOODS),
        places=tuple(rng.sample(_PLACES, 2)),
        things=tuple(f"{_common(rng, _COLOURS)} {thing}" for thing in rng.sample(_THINGS, 3)),
        topic=topic,
        words=tuple(rng.sample(_TOPICS[topic], 4)),
        numbers=tuple(str(rng.randrange(10, 1000)) for _ in range(3)),
    )


def _list(things: tuple[str, ...]) -> str:
    return f"a {things[0]}, a {things[1]} and a {things[2]}"


def _story(rng: random.Random) -> str:
    """A fixed beginning and end, and in between sentences in any order."""
    entities = _bind(rng)
    e = entities
    hero_he, friend_he = e.pronoun(e.hero), e.pronoun(e.friend)
    middle: list[Callable[[], str]] = [
        lambda: f"{e.hero} took the {rng.choice(e.things)} to the {rng.choice(e.places)}.",
        lambda: (
            f'"Where is the {rng.choice(e.things)}?" asked {e.friend}. "{hero_he.capitalize()} has it," '
            f"said the {e.kind}."
        ),
        lambda: f"{e.friend} was {e.mood}, and so was {e.hero}.",
        lambda: f"Then {hero_he} counted: {_list(e.things)}.",
        lambda: f"In the {e.places[1]} {e.hero} met {e.friend} again, and {friend_he} smiled.",
        lambda: f'The {e.kind} said to {e.friend}: "Give the {e.things[0]} to {e.hero}."',
        lambda: f"{friend_he.capitalize()} was {_common(rng, _MOODS)} because the {e.things[1]} was lost.",
    ]
    sentences = [
        f"Once there was a {e.mood} {e.kind} named {e.hero}, who lived near the {e.places[0]}.",
        f"{hero_he.capitalize()} had {_list(e.things)}.",
        f"One day {e.hero} met {e.friend} in the {e.places[1]}.",
        *(rng.choice(middle)() for _ in range(rng.randrange(4, 10))),
        f"In the end {e.hero} and {e.friend} brought {_list(e.things)} home to the {e.places[0]}.",
    ]
    return " ".join(sentences)


def _page(rng: random.Random) -> str:
    """A heading, facts, advice and a summary that repeats the facts."""
    e = _bind(rng)
    unit = [rng.choice(_UNITS) for _ in e.numbers]
    facts = [f"The {word} takes {number} {what}." for word, number, what in zip(e.words, e.numbers, unit, strict=False)]
    middle: list[Callable[[], str]] = [
        lambda: f"{e.hero} writes that the {rng.choice(e.words)} near the {e.places[0]} is better.",
        lambda: f"If the {e.words[0]} fails, try the {e.words[1]} and then the {e.words[2]}.",
        lambda: f"Posted by {e.friend}: I agree with {e.hero} about the {rng.choice(e.words)}.",
        lambda: f"You can buy a {rng.choice(e.things)} in the {e.places[1]} for {rng.choice(e.numbers)} {unit[0]}.",
        lambda: f"A {_common(rng, e.words)} and a {_common(rng, e.words)} are all you need for {e.topic}.",
        lambda: rng.choice(facts),
    ]
    body = [rng.choice(middle)() for _ in range(rng.randrange(5, 12))]
    summary = "; ".join(f"{word} {number} {what}" for word, number, what in zip(e.words, e.numbers, unit, strict=False))
    return "\n".join(
        [
            f"{e.topic.capitalize()} guide by {e.hero}: the {e.words[0]} and the {e.words[1]}",
            " ".join([*facts, *body]),
            f"Summary: {summary}. Questions? Ask {e.hero} or {e.friend}.",
        ]
    )
