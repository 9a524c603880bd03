"""Packs finished runs with their evidence: everything that their records vouch for, and nothing else.

A record is signed, so nothing in it can be blacked out. A run whose files hold a key, or a path of this machine, is
therefore refused, with the file that does; the value itself is told to nobody.

Not covered: secrets in another form, such as split or encoded ones, and names of hosts, which a manifest has.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, naming, open_file, read_file
from aira_bench.keys import KeyFolder, KeyRing
from aira_bench.packs.pack_file import PackIndex, Source, write_pack
from aira_bench.paths import HostPaths, user_home
from aira_bench.publication.document import BOARD_FILE, board_document, document_bytes
from aira_bench.record.chain import MOST_BYTES
from aira_bench.record.confirmations import confirmed_files
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.sealing import files_below

MOST_SCANNED_BYTES = 2**28
"""Of one file; larger ones are refused, since they could hold anything unseen."""
_LEAST_SECRET_CHARS = 8
_ABSOLUTE = re.compile(r"(?:^|:)/")
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?$", re.IGNORECASE)
_SECRET_FORMS = (
    (re.compile(rb"\bsk-[A-Za-z0-9_-]{20,}"), "what looks like an API key"),
    (re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b"), "what looks like an API key"),
    (re.compile(rb"\b(?:ghp|gho|github_pat|glpat|hf)_[A-Za-z0-9_]{20,}"), "what looks like an access token"),
    (re.compile(rb"\bAKIA[0-9A-Z]{16}\b"), "what looks like an access key"),
    (re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(rb"://[^/@\s\"':]+:[^/@\s\"']+@"), "an address with a password in it"),
)


def pack_runs(folders: Sequence[RunFolder], paths: HostPaths, out: Path, environ: Mapping[str, str]) -> PackIndex:
    """Pack runs into a new file, and return what is in it.

    Args:
        folders: of the runs.
        paths: of this machine.
        out: the file to write.
        environ: whose values with names of secrets may stand in no file.

    Raises:
        RunStateError: a run cannot be read, has not ended, is unsigned, or holds what may not leave this machine.
    """
    ring = KeyFolder(paths.keys).ring()
    runs = [_readable(folder, ring) for folder in folders]
    if len({run.manifest.run_id for run in runs}) != len(runs) or len({run.name for run in runs}) != len(runs):
        raise RunStateError("A run stands twice among those to be packed.", hint="aira-bench status")
    places = {
        f"runs/{run.name}/{name}": Source(run.folder.path, here) for run in runs for name, here in vouched_files(run)
    }
    secrets = [*_secrets(environ, paths), *_places(paths)]
    try:
        for name, place in places.items():
            with naming(name):
                _require_clean(place, secrets)
        board = document_bytes(board_document((), runs, ring, {}))
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.") as stream:
            index = write_pack(stream, places, {BOARD_FILE: board})
            stream.flush()
            out.unlink(missing_ok=True)
            os.link(stream.name, out)
            out.chmod(0o644)
    except Unacceptable as error:
        raise RunStateError(f"Nothing was packed: {error}.") from error
    return index


def _readable(folder: RunFolder, ring: KeyRing) -> RunRecord:
    run = read_run(folder, ring, "all")
    if None in run.signers:
        raise RunStateError(f"Run {run.name} is unsigned, so it is no evidence of anything.")
    if not run.closed:
        raise RunStateError(f"Run {run.name} has not ended.", hint=folder.command("resume"))
    for field, value in run.manifest.plan.model_dump().items():
        if isinstance(value, str) and _ABSOLUTE.search(value):
            raise RunStateError(
                f"Run {run.name} has {value} as its {field}: a path of this machine, in a signed record that cannot be "
                "changed. Nobody without that path could check the run."
            )
    return run


def vouched_files(run: RunRecord) -> Iterator[tuple[str, str]]:
    """Return the names of all files of a run that its records vouch for, as a pack has them, and where they lie in its
    folder.

    Args:
        run: read with all its files.

    Raises:
        RunStateError: its confirmations changed since.
    """
    for name in ("manifest.json", "record.jsonl", *(["agent.py"] if run.manifest.agent_file_sha256 else [])):
        yield name, name
    for seed in run.seeds:
        below, here = f"seeds/{seed.seed}", f"seeds/{seed.folder.path.name}"
        for name, path in (
            ("journal.jsonl", seed.folder.journal),
            ("hidden/scores.jsonl", seed.folder.scores.path),
            ("hidden/confirmed.jsonl", seed.folder.confirmed.path),
        ):
            if path.is_file():
                yield f"{below}/{name}", f"{here}/{name}"
        steps = [folder for node in seed.nodes for folder in seed.folder.step_folders(node.step)]
        for name in (*files_below(seed.folder.path, steps), *_of_confirmations(seed.folder)):
            yield f"{below}/{name}", f"{here}/{name}"


def _of_confirmations(seed: SeedFolder) -> list[str]:
    """Reports of trainings that are recorded; what one that was cut short left is nobody's evidence."""
    if not seed.confirmed.path.is_file():
        return []
    try:
        return confirmed_files(read_file(seed.path, "hidden/confirmed.jsonl", MOST_BYTES))
    except Unacceptable as error:
        raise RunStateError(f"{seed.confirmed.path}: {error}.") from error


def _secrets(environ: Mapping[str, str], paths: HostPaths) -> list[tuple[bytes, str]]:
    """Values that may stand in no file, and what to call each without telling it."""
    found = [
        (value.encode(), f"the value of {name}")
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _LEAST_SECRET_CHARS
    ]
    for path in (paths.keys / "machine.key", paths.keys / "hidden.key"):
        if path.is_file():
            found.append((path.read_bytes().strip(), f"the content of {path.name}"))
    return [(value, what) for value, what in found if value]


def _places(paths: HostPaths) -> list[tuple[bytes, str]]:
    """Folders of this machine that may be named in no file."""
    named = {paths.home, paths.runs, Path.cwd(), *([home] if (home := user_home()) is not None else [])}
    return [
        (os.fsencode(folder), f"the path {folder} of this machine")
        for folder in sorted(named)
        if len(folder.parts) > 2  # `/root` and the like also stand in what containers print
    ]


def _require_clean(place: Source, secrets: Sequence[tuple[bytes, str]]) -> None:
    with open_file(place.root, place.name) as descriptor:
        if os.fstat(descriptor).st_size > MOST_SCANNED_BYTES:
            raise Unacceptable(f"it has more than {MOST_SCANNED_BYTES:,} bytes")
        content = b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
    for value, what in secrets:
        if value in content:
            raise Unacceptable(f"it holds {what}, which may not leave this machine")
    for form, what in _SECRET_FORMS:
        if form.search(content):
            raise Unacceptable(f"it holds {what}, which may not leave this machine")
