"""The shared store on object storage, S3 and Google Cloud Storage, through fsspec.

`create` is one conditional request, `If-None-Match: *` at S3 and `ifGenerationMatch=0` at Google: the store lets one
of all that ask through. Whatever is answered, what stands there afterwards says who has won, so an answer that was
lost, or a request that a library sent twice, changes nothing. There is no other conditional request: numbered names
(`succession`) are compare-and-swap. A store that takes the condition and does not keep it is found out by a trial
(`require_conditions`) and refused.

Credentials are found by the ways of the stores' own libraries, and by no other; nothing here reads or keeps them.

Not covered: what is kept in the objects, and storage that breaks its promise now and then.
"""

import logging
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from aira_bench.errors import MachineError, PrerequisiteError, UsageError
from aira_bench.shared_store.store import MOST_BYTES, check_object

_ADDRESS = re.compile(r"(s3|gs):/{1,2}([A-Za-z0-9][A-Za-z0-9._-]*)((?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)/?")
_ANY_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_RIVALS = 4
"""That try to make one name at a time, in the trial of a store."""
_NO_ACCESS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "DefaultCredentialsError")
_CONNECT_S, _ANSWER_S, _TRIES = 10, 60, 4
_PAUSES_S = (0.2, 1.0, 3.0)


@dataclass(frozen=True)
class ObjectAddress:
    """A place on object storage: a bucket and what names of objects begin with."""

    scheme: str
    path: str
    """Bucket and prefix, without a slash at either end."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def below(self, *names: str) -> "ObjectAddress":
        """Return the place of that name in this one."""
        return ObjectAddress(self.scheme, "/".join((self.path, *names)))


def object_address(text: str) -> ObjectAddress | None:
    """Return the address that a text is; None where it is a path. A `Path` of an address has lost one of its slashes.

    Raises:
        UsageError: it is an address of another kind, or has characters that names of objects are not found by.
    """
    if (found := _ADDRESS.fullmatch(text)) is not None:
        return ObjectAddress(found[1], found[2] + found[3])
    if _ANY_ADDRESS.match(text):
        raise UsageError(
            f"{text[:80]!r} is no place for runs: expected s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, "
            "of letters, digits, '.', '_' and '-'.", hint="--runs s3://BUCKET/PREFIX",
        )  # fmt: skip
    return None


@dataclass(frozen=True)
class Listed:
    """What a listing says of one object."""

    tag: str
    """Another one when the object was replaced."""
    made_at_s: float
    """By the clock of the store, in seconds of the epoch."""


class ObjectStore:
    """Objects below one address. May be shared by threads; any number of machines may use the same address."""

    def __init__(self, address: ObjectAddress, files: Any) -> None:  # noqa: ANN401  # fsspec has no types
        """Use a file system of fsspec; `open_objects` makes one."""
        self.address, self._files = address, files

    def below(self, *names: str) -> "ObjectStore":
        """Return the store in a folder of this one."""
        return ObjectStore(self.address.below(*names), self._files)

    def above(self) -> "ObjectStore":
        """Return the store that this one is a folder of."""
        return ObjectStore(ObjectAddress(self.address.scheme, self.address.path.rpartition("/")[0]), self._files)

    def create(self, name: str, data: bytes) -> bytes:
        """Make an object unless it is there, and return what it holds now and for ever.

        Raises:
            MachineError: the storage failed; whether the object was made is not known.
            PrerequisiteError: it may not be used.
        """
        check_object(name, data)
        for pause_s in (*_PAUSES_S, None):
            try:
                self._files.pipe_file(self._key(name), data, mode="create")
            except Exception as error:  # of three libraries: refused, lost and failed look different in each
                if (found := self.get(name)) is not None:
                    return found
                if pause_s is None or _is_denied(error):
                    self._failed(name, error)
                time.sleep(pause_s)  # two at a time may both be refused
            else:
                break
        return data

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, None where there is none.

        Raises:
            MachineError: the storage failed.
            PrerequisiteError: it may not be used.
        """
        check_object(name)
        try:
            data = bytes(self._files.cat_file(self._key(name), start=0, end=MOST_BYTES + 1))
        except FileNotFoundError:
            return None
        except Exception as error:
            self._failed(name, error)
        if len(data) > MOST_BYTES:
            raise MachineError(f"The machine failed: {self.address.below(name)} is larger than anything kept there.")
        return data

    def put(self, name: str, data: bytes) -> None:
        """Make or replace an object as a whole.

        Raises:
            MachineError: the storage failed; whether the object was replaced is not known.
            PrerequisiteError: it may not be used.
        """
        check_object(name, data)
        try:
            self._files.pipe_file(self._key(name), data)
        except Exception as error:
            self._failed(name, error)

    def names(self, folder: str) -> list[str]:
        """Return the last parts of the names directly in a folder, sorted; none where there is no such folder.

        Raises:
            MachineError: the storage failed.
            PrerequisiteError: it may not be used.
        """
        path = self.address.path if folder in ("", ".") else self._key(folder)
        try:
            found = self._files.ls(path, detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            self._failed(folder, error)
        return sorted({str(each).rstrip("/").rpartition("/")[2] for each in found} - {""})

    def remove(self, name: str) -> None:
        """Remove an object if it is there.

        Raises:
            MachineError: the storage failed.
            PrerequisiteError: it may not be used.
        """
        check_object(name)
        try:
            self._files.rm_file(self._key(name))
        except FileNotFoundError:
            pass
        except Exception as error:
            self._failed(name, error)

    def listing(self, folder: str = "") -> dict[str, Listed]:
        """Return all objects in a folder and below it by name: one request for a thousand of them.

        Raises:
            MachineError: the storage failed.
            PrerequisiteError: it may not be used, or there is no such bucket.
        """
        start = f"{self.address.path}/"
        try:
            found = self._files.find(self._key(folder) if folder else self.address.path, detail=True)
        except Exception as error:
            self._failed(folder, error)
        return {name.removeprefix(start): _listed(about) for name, about in found.items() if name.startswith(start)}

    def require_conditions(self) -> None:
        """Try whether the store keeps the one condition that everything rests on, with a name of its own.

        Raises:
            PrerequisiteError: it does not, or may not be used.
            MachineError: the storage failed.
        """
        name, words = f"trial/{secrets.token_hex(8)}", [secrets.token_bytes(16) for _ in range(_RIVALS)]
        with ThreadPoolExecutor(_RIVALS) as pool:
            told = set(pool.map(lambda word: self.create(name, word), words))
        told |= {self.create(name, b"late"), self.get(name) or b""}
        self.remove(name)
        if len(told) != 1 or b"late" in told:
            raise PrerequisiteError(
                f"{self.address} does not keep conditional writes, by which workers agree who does what.",
                hint="a store that has them: Amazon S3, Google Cloud Storage, or --runs with a shared folder",
            )

    def _key(self, name: str) -> str:
        return f"{self.address.path}/{name}"

    def _failed(self, name: str, error: Exception) -> NoReturn:
        place, said = self.address.below(name) if name else self.address, f"{type(error).__name__}: {error}"[:200]
        if _is_denied(error):
            raise PrerequisiteError(f"{place} cannot be used: {said}.", hint=_HINTS[self.address.scheme]) from error
        raise MachineError(f"The machine failed: {place}: {said}. What is recorded is safe.") from error


_HINTS = {
    "s3": "aws s3 ls, with the same AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL",
    "gs": "gcloud auth application-default login, and gcloud storage ls",
}


def open_objects(address: ObjectAddress) -> ObjectStore:
    """Return the store at an address. Nothing is asked of it yet.

    Raises:
        PrerequisiteError: the extra is not installed.
    """
    options: dict[str, Any] = {"use_listings_cache": False}
    try:
        if address.scheme == "s3":
            from s3fs import S3FileSystem as Files

            answers = {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S, "retries": {"max_attempts": _TRIES}}
            options["config_kwargs"] = answers
        else:
            from gcsfs.core import GCSFileSystem as Files  # that of the package may speak another protocol

            logging.getLogger("gcsfs").addHandler(logging.NullHandler())  # it prints tracebacks of what it raises
            options["requests_timeout"] = _ANSWER_S
    except ImportError:
        raise PrerequisiteError(
            f"{address.scheme}:// needs fsspec, s3fs and gcsfs.", hint="pip install 'aira-bench[objects]'"
        ) from None
    return ObjectStore(address, Files(**options))


def _listed(about: dict[str, Any]) -> Listed:
    when = about.get("LastModified") or about.get("mtime")
    return Listed(str(about.get("ETag") or about.get("etag")), when.timestamp() if isinstance(when, datetime) else 0.0)


def _is_denied(error: Exception) -> bool:
    kind = type(error).__name__
    return isinstance(error, (PermissionError, FileNotFoundError)) or kind in _NO_ACCESS or "Forbidden" in str(error)
