"""Reads an agent card and says what is still missing before a run can use it. No call is made.

Not covered: whether the provider knows the model and takes the card's settings; the first call finds that out.
"""

import os
from pathlib import Path

from aira_bench.authoring.findings import CheckFailed, Finding, Tell
from aira_bench.cards.card import Card, all_missing, resolve_base_url
from aira_bench.cards.card_files import load_card
from aira_bench.errors import UsageError


def check_card(path: Path, tell: Tell) -> Card:
    """Read a card and tell what it says and what is missing.

    Raises:
        CheckFailed: the card cannot be read or breaks the schema.
    """
    try:
        card = load_card(path)
    except UsageError as error:
        raise CheckFailed(error.message, hint=error.hint) from error
    tell(Finding(path.name, f"{card.title} ({card.provider}: {card.model})"))
    missing = all_missing(card, os.environ)
    for one in missing:
        tell(Finding("environment", f"{one.todo}: {one.command}", is_remark=True))
    if not missing:
        tell(Finding("environment", f"calls go to {resolve_base_url(card, os.environ)}"))
    prices = card.prices
    if prices is None or prices.usd_per_mtok_input is None or prices.usd_per_mtok_output is None:
        tell(Finding(path.name, "no prices: cost is unknown, and --max-cost-usd is refused", is_remark=True))
    return card
