"""One hand of blackjack: an endless shoe, a player, and a dealer who draws to 17.

Cards are dealt in this order: two to the player, two to the dealer, then as they are drawn. Every rank is as likely
at any time (the shoe has no memory), which is NeMo Gym's ``blackjack``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

RANKS = ("2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K", "A")
DEALER_STANDS = 17


def total(cards: list[str]) -> int:
    """A hand's worth: pictures count 10, an ace 11 or, where that would be too much, 1."""
    points = sum(11 if card == "A" else 10 if card in "JQK" else int(card) for card in cards)
    for _ in range(cards.count("A")):
        if points > 21:
            points -= 10
    return points


def settle(player: list[str], dealer: list[str]) -> tuple[str, float]:
    """What both final hands come to: ``bust``, ``win``, ``draw`` or ``loss``, and its reward."""
    mine, theirs = total(player), total(dealer)
    if mine > 21:
        return "bust", -1.0
    if theirs > 21 or mine > theirs:
        return "win", 1.0
    return ("draw", 0.0) if mine == theirs else ("loss", -1.0)


@dataclass(slots=True)
class Hand:
    """A hand in play. ``result``: None until it is over."""

    rng: random.Random
    player: list[str] = field(default_factory=list)
    dealer: list[str] = field(default_factory=list)
    result: str | None = None

    @classmethod
    def deal(cls, seed: int | None) -> Hand:
        """A new hand; the same one for the same seed, any for None."""
        hand = cls(random.Random(seed))
        hand.player = [hand.draw(), hand.draw()]
        hand.dealer = [hand.draw(), hand.draw()]
        return hand

    def draw(self) -> str:
        """The next card."""
        return self.rng.choice(RANKS)

    def hit(self) -> float:
        """One more card for the player. The reward: -1.0 when that is too much."""
        self.player.append(self.draw())
        return self._end() if total(self.player) > 21 else 0.0

    def stand(self) -> float:
        """The dealer's turn, then the end. The reward."""
        while total(self.dealer) < DEALER_STANDS:
            self.dealer.append(self.draw())
        return self._end()

    def _end(self) -> float:
        self.result, reward = settle(self.player, self.dealer)
        return reward
