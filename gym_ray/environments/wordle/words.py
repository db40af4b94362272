"""The words that may be guessed, and what a guess says about a target.

The list is the 8,636 five-letter words of ENABLE (Enhanced North American Benchmark Lexicon), which is in the public
domain; NeMo Gym's ``wordle`` takes the same.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

WORD_LENGTH = 5


@cache
def all_words() -> frozenset[str]:
    """Every word that may be guessed, in lower case."""
    return frozenset(_read("words.txt"))


@cache
def everyday_words() -> list[str]:
    """About six hundred of them that everybody knows, in alphabetical order; our own choice."""
    return _read("everyday.txt")


def _read(name: str) -> list[str]:
    return files(__package__).joinpath(name).read_text(encoding="ascii").split()


def feedback(guess: str, target: str) -> str:
    """One sign per letter: ``G`` right place, ``Y`` elsewhere in the word, ``_`` not in it.

    Each letter of the target answers for one letter of the guess: those in the right place first, then from the left.
    """
    left = [wanted for letter, wanted in zip(guess, target, strict=True) if letter != wanted]
    signs = ""
    for letter, wanted in zip(guess, target, strict=True):
        if letter == wanted:
            signs += "G"
        elif letter in left:
            left.remove(letter)
            signs += "Y"
        else:
            signs += "_"
    return signs
