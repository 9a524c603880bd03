"""Files of text that tokens are made of: shards of DCLM, those of a list, or what lies in a folder.

    name = "two shards"                     a list, FILE.toml
    source = "where the text comes from"
    synthetic = false

    [[file]]
    name = "a.jsonl.zst"                    JSON lines, plain or as .gz or .zst, or .parquet
    url = "https://..."
    bytes = 250000000                       if known
    sha256 = "..."                          if known; else the first download pins it

DCLM's shards are those of the task's own address, at its fixed revision, and are kept where tasks keep theirs. Not
covered: gated addresses.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aira_bench.errors import UsageError
from aira_bench.files import Unacceptable, read_text, reason
from aira_bench.paths import HostPaths
from aira_bench.tasks.data_source import download_all, download_folder, offered_sizes
from aira_bench.tasks.metadata import PublicFile
from aira_bench.tasks.task import find_task
from aira_bench.tasks.transfer import Transfer
from aira_contract.token_making import CorpusFile

DCLM_TASK = "dclm-2p"
DCLM_SHARDS = 279
"""In the first of a hundred parts of DCLM; others are reached by a list."""
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_MOST_BYTES = 1 << 24
_HINT = "--source FILE.toml | FOLDER   (docs/pretraining.md)"


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class _List(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    source: str = Field(min_length=1, max_length=500)
    synthetic: bool = False
    file: Annotated[tuple[PublicFile, ...], BeforeValidator(_tuple)] = Field(min_length=1, max_length=100_000)


@dataclass(frozen=True)
class Texts:
    """Files of text, of which some may not be on this machine yet."""

    name: str
    source: str
    """For people."""
    synthetic: bool
    public: tuple[PublicFile, ...] = ()
    """To be downloaded."""
    local: tuple[Path, ...] = ()

    def missing(self, paths: HostPaths) -> tuple[PublicFile, ...]:
        """Return the files that would be downloaded."""
        return tuple(file for file in self.public if not (download_folder(paths, file) / file.name).exists())

    def sizes(self, paths: HostPaths) -> dict[str, int | None]:
        """Return the bytes of each file by its name, as its server states them if need be; None where nobody says."""
        asked = [file for file in self.missing(paths) if file.bytes is None]
        public = {file.name: file.bytes for file in self.public} | {
            file.name: size for file, size in zip(asked, offered_sizes(asked), strict=True)
        }
        here = [download_folder(paths, file) / file.name for file in self.public]
        return public | {path.name: path.stat().st_size for path in (*here, *self.local) if path.exists()}


def dclm_texts(shards: int) -> Texts:
    """Return the first shards of DCLM.

    Raises:
        UsageError: there are not so many.
    """
    if not 1 <= shards <= DCLM_SHARDS:
        raise UsageError(f"{shards} shards of DCLM were asked for, expected 1 to {DCLM_SHARDS}.", hint=_HINT)
    (first,) = find_task(DCLM_TASK).metadata.aira.sources
    files = tuple(
        PublicFile(name=_numbered(first.name, number), url=_numbered(first.url, number)) for number in range(shards)
    )
    return Texts("dclm", f"DCLM-baseline, {files[0].url} and the {shards - 1} after it", False, files)


def _numbered(text: str, number: int) -> str:
    return re.sub(r"shard_\d{8}_", f"shard_{number:08}_", text)


def read_texts(source: Path, *, synthetic: bool) -> Texts:
    """Return the texts of a list or of a folder.

    Args:
        source: FILE.toml, or a folder with files of text.
        synthetic: whether they stand in for public text; a list may say so itself.

    Raises:
        UsageError: it cannot be read, or names no text.
    """
    if source.is_dir():
        found = tuple(sorted(path for path in source.iterdir() if path.name.endswith(ENDINGS) and path.is_file()))
        if not found:
            raise UsageError(f"{source} has no file that ends in {', '.join(ENDINGS)}.", hint=_HINT)
        return Texts(source.resolve().name, f"{len(found)} files of a folder", synthetic, local=found)
    try:
        read = _List.model_validate(tomllib.loads(read_text(source, _MOST_BYTES)))
    except (OSError, Unacceptable) as error:
        raise UsageError(f"{source} cannot be read: {reason(error)}.", hint=_HINT) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source} is no TOML file: {error}.", hint=_HINT) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{source}: {'.'.join(map(str, first['loc']))}: {first['msg']}.", hint=_HINT) from error
    if len({file.name for file in read.file}) < len(read.file):
        raise UsageError(f"{source} names two files alike.", hint=_HINT)
    if unknown := [file.name for file in read.file if not file.name.endswith(ENDINGS)]:
        raise UsageError(f"{source}: {unknown[0]} ends in none of {', '.join(ENDINGS)}.", hint=_HINT)
    return Texts(read.name, read.source, read.synthetic or synthetic, read.file)


def provide_texts(
    texts: Texts, paths: HostPaths, note: Callable[[str], None], watch: Callable[[Transfer], None]
) -> tuple[CorpusFile, ...]:
    """Return all files, on this machine and hashed; what is missing is downloaded, or goes on where it stopped.

    Raises:
        PrerequisiteError: a file cannot be had, is another than it was, or the disk is full.
    """
    stored = download_all(texts.name, texts.public, paths, note, watch)
    found = [CorpusFile(file.name, file.bytes, file.sha256, str(file.path)) for file in stored]
    return tuple(found) + tuple(_hashed(path) for path in texts.local)


def _hashed(path: Path) -> CorpusFile:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.", hint=_HINT) from error
    return CorpusFile(path.name, path.stat().st_size, digest, str(path.absolute()))
