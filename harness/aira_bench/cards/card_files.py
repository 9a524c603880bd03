"""Finds agent cards: shipped ones, the user's own, and any file by path.

A user's card lies in `$XDG_CONFIG_HOME/aira-bench/agents/NAME.toml` (default `~/.config`) and hides a shipped one
of the same name.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from pydantic import ValidationError

from aira_bench.cards.card import Card
from aira_bench.errors import UsageError
from aira_bench.files import Unacceptable, read_text, reason
from aira_bench.near_names import guess
from aira_bench.paths import user_home

_SHIPPED = Path(__file__).parent / "shipped"
_LARGEST_BYTES = 16 << 10
"""The longest shipped one has 0.8 KB. Dotted keys take the parser the square of their number."""


def user_folder(environ: Mapping[str, str]) -> Path:
    """Return where the user's own cards lie; it need not exist, and does not for a user without a home."""
    home = environ.get("HOME") or user_home()
    config_home = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else os.devnull)
    return Path(config_home) / "aira-bench" / "agents"


def card_names(environ: Mapping[str, str]) -> list[str]:
    """Return every card that can be named, sorted."""
    return sorted(_card_files(environ))


def shipped_names() -> list[str]:
    """Names of the cards that come with this installation, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def find_card(name: str, environ: Mapping[str, str]) -> Card:
    """Return the card called `name`, or the one in the file `name` when that ends in `.toml`.

    Raises:
        UsageError: there is no such card, or it breaks the schema.
    """
    if name.endswith(".toml"):
        return load_card(Path(name))
    files = _card_files(environ)
    if name in files:
        return load_card(files[name])
    raise UsageError(f"Unknown agent card {name!r}. {guess(name, sorted(files))}", hint="aira-bench agents")


def load_card(path: Path) -> Card:
    """Read one agent card from a file.

    Raises:
        UsageError: the file cannot be read, is no TOML, breaks the schema, or is named unlike its card.
    """
    try:
        card = Card.model_validate(tomllib.loads(read_text(path, _LARGEST_BYTES)))
    except (OSError, Unacceptable) as error:
        raise UsageError(f"Cannot read the agent card {path}: {reason(error)}.", hint="aira-bench agents") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, entry['loc'])) or 'card'}: {entry['msg']}" for entry in error.errors()
        )
        raise UsageError(f"The agent card {path} is not valid: {problems}.", hint="aira-bench agents --help") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The agent card {path} is no TOML file: {error}.", hint="aira-bench agents --help") from error
    if card.name != path.stem:
        raise UsageError(
            f"The agent card {path} says name = {card.name!r}.", hint=f"mv {quote(str(path))} {card.name}.toml"
        )
    return card


def _card_files(environ: Mapping[str, str]) -> dict[str, Path]:
    folders = (_SHIPPED, user_folder(environ))
    return {path.stem: path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.toml"))}
