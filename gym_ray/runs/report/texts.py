"""What token ids read as: the tokenizer of the run's own weights, where this machine has it.

Invariant: an id's text is its own, never guessed from its neighbours. Bytes of a character that several tokens make
up are shown as the tokenizer's piece. Nothing is downloaded: without a ``tokenizer.json`` here, ids stay ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from gym_ray.runs.read import RunRecord
from gym_ray.types.errors import UserError

FILE, PACKAGE = "tokenizer.json", "package://"
_SPACE = "\u2581"


class TokenTexts:
    """Texts by id. Raises UserError when ``path``, a folder or a ``tokenizer.json``, holds none."""

    def __init__(self, path: Path | None) -> None:
        self._tokenizer: Any = None if path is None else _load(path)
        self._known: dict[int, str] = {}

    def of(self, ids: Iterable[int]) -> dict[int, str]:
        """The text of each different id; empty when there is no tokenizer."""
        if self._tokenizer is None:
            return {}
        found = {}
        for token in ids:
            if token not in self._known:
                self._known[token] = self._text(token)
            found[token] = self._known[token]
        return found

    def _text(self, token: int) -> str:
        piece: str = self._tokenizer.id_to_token(token) or ""
        text: str = self._tokenizer.decode([token], skip_special_tokens=False)
        if not text or "\ufffd" in text:
            return piece
        # SentencePiece drops the space that begins a text.
        return f" {text}" if piece.startswith(_SPACE) and not text.startswith(" ") else text


def token_texts(record: RunRecord, given: str | None = None) -> TokenTexts:
    """The run's tokenizer, or the one in the folder ``given``. Raises UserError when that has none."""
    if given is not None:
        return TokenTexts(Path(given).expanduser())
    serve = (record.config.get("model") or {}).get("serve") or {}
    path = _local(str(serve.get("tokenizer") or serve.get("path") or ""))
    try:
        return TokenTexts(path if path is not None and (path / FILE).is_file() else None)
    except UserError:
        return TokenTexts(None)  # The page is readable without it.


def _local(path: str) -> Path | None:
    if path.startswith(PACKAGE):
        package, _, folder = path.removeprefix(PACKAGE).partition("/")
        try:
            return Path(str(files(package))) / folder
        except ModuleNotFoundError:
            return None
    return Path(path).expanduser() if path and "://" not in path else None


def _load(path: Path) -> Any:
    file = path / FILE if path.is_dir() else path
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError("reading token ids needs the package tokenizers: pip install tokenizers") from error
    if not file.is_file():
        raise UserError(f"no {FILE} in {path}")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # The package raises Exception itself.
        raise UserError(f"{file}: no tokenizer: {' '.join(str(error).split())[:200]}") from error
