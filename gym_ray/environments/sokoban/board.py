"""A Sokoban board: what is where, what a move does, and its text.

Text: one line per row, ``#`` wall, ``_`` floor, ``O`` target, ``X`` box, ``√`` box on a target, ``P`` player,
``S`` player on a target (NeMo Gym's ``grl_sokoban``). Cells are (row, column) from the top left.
"""

from __future__ import annotations

from dataclasses import dataclass

Cell = tuple[int, int]

MOVES: dict[str, Cell] = {"Up": (-1, 0), "Down": (1, 0), "Left": (0, -1), "Right": (0, 1)}
"""The four moves, in NeMo Gym's order: its action ids are 1 to 4."""
SYMBOLS = "#_OX√PS"


@dataclass(frozen=True, slots=True)
class Board:
    """A position. Invariant: player and boxes stand on floor, in different cells; as many boxes as targets."""

    height: int
    width: int
    floor: frozenset[Cell]
    targets: frozenset[Cell]
    boxes: frozenset[Cell]
    player: Cell

    @classmethod
    def read(cls, text: str) -> Board:
        """The board that ``text`` shows.

        Raises:
            ValueError: a symbol that is none, not one player, or not as many boxes as targets.
        """
        cells = {(y, x): symbol for y, line in enumerate(text.splitlines()) for x, symbol in enumerate(line)}
        if strange := set(cells.values()) - set(SYMBOLS):
            raise ValueError(f"{''.join(sorted(strange))!r} is no symbol of {SYMBOLS}")
        where = {symbols: frozenset(cell for cell in cells if cells[cell] in symbols) for symbols in _KINDS}
        if len(where["PS"]) != 1:
            raise ValueError(f"there must be one player (P or S), not {len(where['PS'])}")
        if len(where["X√"]) != len(where["O√S"]) or not where["X√"]:
            raise ValueError("there must be as many boxes (X, √) as targets (O, √, S), and at least one")
        height, width = max(y for y, _ in cells) + 1, max(x for _, x in cells) + 1
        return cls(height, width, where["_OX√PS"], where["O√S"], where["X√"], next(iter(where["PS"])))

    def __str__(self) -> str:
        return "\n".join("".join(self._symbol((y, x)) for x in range(self.width)) for y in range(self.height))

    def _symbol(self, cell: Cell) -> str:
        on_target = cell in self.targets
        if cell == self.player:
            return "S" if on_target else "P"
        if cell in self.boxes:
            return "√" if on_target else "X"
        return "O" if on_target else "_" if cell in self.floor else "#"

    @property
    def placed(self) -> int:
        """Boxes that stand on targets."""
        return len(self.boxes & self.targets)

    @property
    def solved(self) -> bool:
        """True when every box stands on a target."""
        return self.boxes == self.targets

    def moved(self, move: str) -> Board:
        """The position after a step that may push one box; this same object when the way is blocked."""
        dy, dx = MOVES[move]
        ahead = (self.player[0] + dy, self.player[1] + dx)
        if ahead not in self.floor:
            return self
        boxes = self.boxes
        if ahead in boxes:
            beyond = (ahead[0] + dy, ahead[1] + dx)
            if beyond not in self.floor or beyond in boxes:
                return self
            boxes = boxes - {ahead} | {beyond}
        return Board(self.height, self.width, self.floor, self.targets, boxes, ahead)


_KINDS = ("PS", "X√", "O√S", "_OX√PS")
"""Player, box, target, floor: the symbols that show each."""
