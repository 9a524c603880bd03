"""Manifests of splits on disk: written last, so that a folder with a manifest is whole, and read with suspicion.

Not covered: what lies beside them (`compose.mad.splits`, `compose.text.windows`, `lra.contract.splits`).
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    ManifestType = TypeVar("ManifestType", bound=DataclassInstance)

MANIFEST = "manifest.json"


class DataError(Exception):
    """A split or a raw file is absent, incomplete or made for something else; one printable line."""


def write_manifest(folder: Path, manifest: "DataclassInstance", schema: int) -> None:
    """Write `manifest.json`: from now on the split is whole."""
    text = json.dumps({"schema": schema, **asdict(manifest)}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="ascii")


def read_manifest(folder: Path, kind: "type[ManifestType]", schema: int) -> "ManifestType":
    """Read `manifest.json` as a `kind`; its lists become tuples.

    Raises:
        DataError: it is absent, of another schema, or lacks a field or has one too many.
    """
    path = folder / MANIFEST
    try:
        entries: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
        if entries.pop("schema") != schema:
            raise DataError(f"{path}: expected schema {schema}; prepare the data again")
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()})
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a manifest of this kind of data: {error}") from None
