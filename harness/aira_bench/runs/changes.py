"""What a run that goes on would stand on that it did not begin with, and the user's word that it may.

Everything a manifest records is compared, before any code that the run names is executed on the host. What a score
depends on (task, data, images, evaluator, hardware) and code of others must be what it was. What answers depend on, the
model's card with its prices and sampling, prompts, this product and what it stands on, may change with
`--accept-changes`: the run's record says what, and boards show it.

Not covered: where the run goes on (its machine's name and memory), and isolation, which may only grow (`runs.host`).
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from aira_bench.agents.llm.prompting import prompt_hashes
from aira_bench.cards.card_files import find_card
from aira_bench.errors import RunStateError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.hardware import Hardware
from aira_bench.keys import KeyFolder
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest
from aira_bench.record.repair import repair
from aira_bench.record.run_record import RunRecord
from aira_bench.record.sealing import Difference, Keeper
from aira_bench.record.seen_chains import Witness
from aira_bench.runs.provenance import python_version, software_versions, source_revision
from aira_bench.version import __version__
from aira_bench.world import World

ACCEPT = "--accept-changes"
TRUST = "--trust-agent"
_NONE = "none"
_MOST_NAMED = 5


def differences(record: RunRecord) -> tuple[Difference, ...]:
    """Return what changed since the run began, or since its user last accepted changes, sorted by name.

    Raises:
        UsageError: the run's agent card is not there any more, or breaks the schema.
    """
    then, now = dict(_of_manifest(record.manifest)), dict(_of_today(record.manifest))
    for accepted in record.accepted:
        then |= {each.what: each.now for each in accepted.differences if each.what in then.keys() | now.keys()}
    names = sorted(then.keys() | now.keys())
    pairs = ((name, then.get(name, _NONE), now.get(name, _NONE)) for name in names)
    return tuple(Difference(name, before, today) for name, before, today in pairs if before != today)


def take_back(folder: RunFolder, keys: KeyFolder, world: World) -> tuple[Difference, ...]:
    """Take a damaged run back to the last good step of each seed; return what was damaged, which its record names.

    Raises:
        RunStateError: a process works on the run, or too little of it is left.
    """
    lock = folder.lock()
    try:
        return repair(
            folder, keys.ring(), lambda manifest, digest: Keeper(
                folder, keys.machine_key(), manifest.run_id, digest, world.now, Witness(keys.seen)
            )
        )  # fmt: skip
    finally:
        os.close(lock)


def require_accepted(record: RunRecord, found: tuple[Difference, ...]) -> None:
    """Raises RunStateError where something changed: it names what, and the command that accepts it."""
    if not found:
        return
    named = "; ".join(f"{each.what} {each.then} then, {each.now} now" for each in found[:_MOST_NAMED])
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    options = [TRUST] * (None in record.signers)
    raise RunStateError(
        f"Run {record.name} would go on with what it did not begin with: {named}{more}. If it may, boards say so:",
        hint=record.folder.command("resume", *options, ACCEPT),
    )


def require_same_ground(record: RunRecord, hardware: Hardware) -> None:
    """Whether what can be told before anything is imported or built still is what scores of the run depend on.

    Raises:
        RunStateError: the machine is of another class, or a file that holds an extension was edited.
    """
    manifest = record.manifest
    if manifest.hardware_class != hardware.label:
        raise RunStateError(
            f"Run {record.name} cannot go on: the hardware class changed since it began ({manifest.hardware_class} "
            f"then, {hardware.label} now), and scores of the two are never compared.",
            hint="aira-bench run --help   (a new run)",
        )
    for kind, extension in manifest.extensions.items():
        place = extension.target.partition(":")[0]
        if place.endswith(".py") and (seen := _hash_of(Path(place))) != extension.sha256:
            raise RunStateError(
                f"Run {record.name} cannot go on: its {kind} changed since it began ({place}, hash "
                f"{extension.sha256[:12]} then, {seen[:12]} now).",
                hint="aira-bench run --help   (a new run)",
            )


def _hash_of(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return _NONE


def _of_manifest(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "aira-bench", manifest.aira_bench
    yield "source revision", manifest.source_revision or _NONE
    yield "python", manifest.python
    yield from _prefixed("package", {k: v for k, v in manifest.packages.items() if k != "aira-bench"})
    yield from _prefixed("prompt", manifest.prompts)
    yield from _prefixed("card", manifest.card or {})


def _of_today(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "aira-bench", __version__
    yield "source revision", source_revision() or _NONE
    yield "python", python_version()
    yield from _prefixed("package", {k: v for k, v in software_versions().items() if k != "aira-bench"})
    yield from _prefixed("prompt", prompt_hashes() if manifest.prompts else {})
    yield from _prefixed("card", _card_of_today(manifest) if manifest.card is not None else {})


def _card_of_today(manifest: Manifest) -> Mapping[str, object]:
    card = find_card(manifest.plan.agent, os.environ)
    changed = {} if manifest.plan.provider is None else {"provider": manifest.plan.provider}
    return card.model_copy(update=changed).model_dump(mode="json")


def _prefixed(what: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Values in words, those of inner objects under dotted names; what is absent is not named."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _prefixed(what, {f"{name}.{inner}": each for inner, each in value.items()})
        elif value is not None:
            yield f"{what} {name}"[:VALUE_CHARS], _in_words(value)


def _in_words(value: object) -> str:
    """A value, or where it is long its beginning and a hash of the whole."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= VALUE_CHARS else f"{text[:12]}... {hashlib.sha256(text.encode()).hexdigest()[:12]}"
