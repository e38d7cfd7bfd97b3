"""Questions that name a value: whether it is so, which of two it is, and who somebody is whose name is known.

The answer is in the words of the fact that was told. Knows no kind of fact.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from training.corpora import Turn
from training.facts import Fact, Question
from training.sentences import question

WHO = [
    "who is {v}",
    "whos {v}",
    "who's {v} again?",
    "who was {v} again",
    "so who is {v} then",
    "who is {v} to me",
    "do u know who {v} is",
    "u remember {v}? who is it",
    "remind me who {v} is",
    "{v} is who again",
    "wait who is {v}",
    "did i tell you who {v} is",
    "any idea who {v} is",
    "tell me who {v} is",
    "Who is {v} in my life?",
    "{v} is who, in my life?",
    "Do you remember who {v} is?",
    "Do you know who {v} is?",
    "Have I told you who {v} is?",
    "Did I ever mention who {v} is?",
    "What is {v} to me?",
    "When I say {v}, who do I mean?",
    "Who did I say {v} was?",
    "And {v}, who's that?",
    "How do I know {v}?",
    "Could you remind me who {v} is, please?",
    "Can you tell me who {v} is?",
    "If I talk about {v}, do you know who that is?",
]
NOBODY = [
    "You haven't told me who {v} is.",
    "I don't know who {v} is.",
    "You didn't mention who {v} is.",
    "You haven't mentioned {v} to me.",
    "You haven't told me who {v} is to you, so I can't say.",
]


def either(rng: Random, fact: Fact, other: str, answer: str) -> Question:
    """ "Do I live in Rome or Oslo?"."""
    both = replace(fact, value=" or ".join(rng.sample([fact.value, other], 2)))
    return Question(Turn(both.say(rng.choice(fact.kind.check)), answer), (fact.value,))


def checked(rng: Random, fact: Fact, value: str, answer: str) -> Question:
    """ "Do I live in Rome?", where the value that is asked for may be another than the one that was told."""
    asked = Fact(fact.kind, value, fact.slot)
    lead = "Yes" if value == fact.value else "No"
    turn = Turn(asked.say(rng.choice(fact.kind.check)), f"{lead}, {answer[0].lower()}{answer[1:]}")
    return Question(turn, (fact.value, lead))


def who(rng: Random, fact: Fact, answer: str) -> Question:
    """ "Who is Tom?", answered by what the person or animal is to the user: the word the fact is about."""
    return Question(Turn(question(rng, fact.say(rng.choice(WHO))), fact.say(answer)), (fact.slot,))


def nobody(rng: Random, fact: Fact) -> Question:
    """The same of a name that was never told."""
    return Question(Turn(question(rng, fact.say(rng.choice(WHO))), fact.say(rng.choice(NOBODY))), ())
