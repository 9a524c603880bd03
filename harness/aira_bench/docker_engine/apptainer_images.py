"""Images of Apptainer: one SIF file for each, made of the archive that `aira-bench images save` writes.

Apptainer keeps no images by name. Each lies in a folder of ours as a SIF file, with what the archive said of it beside
it: the id that Docker gives the same image, so that a run knows it again, its labels, variables and layers. The file of
facts is written last, and without it there is no image.

Not covered: building, fetching and sending images, which is Docker's or podman's work elsewhere.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aira_bench.docker_engine.apptainer_process import passed
from aira_bench.docker_engine.images import ImageDetails, ImageInfo
from aira_bench.errors import PrerequisiteError
from aira_bench.excerpts import LINE_CHARS
from aira_bench.files import Unacceptable, parse_json

BUILD_TIMEOUT_S = 1800.0
_MOST_JSON_BYTES = 1 << 22
_ARCHIVE_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class _Image:
    """One image of an archive."""

    tags: tuple[str, ...]
    config_name: str
    config: Mapping[str, Any]
    id: str
    layers: tuple[str, ...]
    """Members of the archive."""


class SifImages:
    """The images in one folder, which other processes may read and write too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, tag: str) -> Path:
        """Return the SIF file of an image.

        Raises:
            PrerequisiteError: there is no image of that tag.
        """
        if self._facts(tag) is None:
            raise PrerequisiteError(f"There is no image {tag}.", hint="aira-bench images load FILE")
        return self._name(tag, "sif")

    def exists(self, tag: str) -> bool:
        """Whether there is an image of that tag."""
        return self._facts(tag) is not None

    def details(self, tag: str) -> ImageDetails:
        """Return what an image consists of; raises as `path`."""
        facts = self._required(tag)
        return ImageDetails(layers=tuple(facts["layers"]), environment=dict(facts["environment"]))

    def labels(self, tag: str) -> dict[str, str]:
        """Return the labels of an image; raises as `path`."""
        return dict(self._required(tag)["labels"])

    def listed(self, label: str) -> list[ImageInfo]:
        """Return all images that carry a label (a name, or `name=value`), newest first."""
        name, _, value = label.partition("=")
        images = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            facts = _read(path)
            if facts is None or name not in facts["labels"] or value not in ("", facts["labels"][name]):
                continue
            made = datetime.fromisoformat(facts["created"]).astimezone(UTC)
            images.append(ImageInfo(facts["tag"], facts["id"], int(facts["size_bytes"]), made, dict(facts["labels"])))
        return sorted(images, key=lambda image: image.created, reverse=True)

    def load(self, archive: Iterator[bytes], environ: Mapping[str, str]) -> list[str]:
        """Make SIF files of the images of an archive; return their tags.

        Raises:
            PrerequisiteError: it is none, or Apptainer could not make a file of it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".load-", dir=self.folder) as name:
            whole = Path(name) / "images.tar"
            with whole.open("wb") as file:
                for chunk in archive:
                    file.write(chunk)
            return [tag for image in _images_of(whole) for tag in self._made(image, whole, Path(name), environ)]

    def tag(self, source: str, tag: str) -> None:
        """Give an image another tag; raises as `path`. `source` may be an image's id."""
        facts = self._facts(source) or next(
            (each for path in self.folder.glob("*.json") if (each := _read(path)) and each["id"] == source), None
        )
        if facts is None:
            raise PrerequisiteError(f"There is no image {source} to tag as {tag}.", hint="aira-bench images list")
        if facts["tag"] != tag:
            self._publish(self._name(facts["tag"], "sif"), {**facts, "tag": tag})

    def remove(self, tag: str) -> None:
        """Remove an image. One that is not there is no error; containers that run keep its file to their end."""
        self._name(tag, "json").unlink(missing_ok=True)
        self._name(tag, "sif").unlink(missing_ok=True)

    def _made(self, image: _Image, whole: Path, folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
        if not image.tags:
            return
        alone, sif = folder / "image.tar", folder / "image.sif"
        _write_alone(image, whole, alone)
        _build(sif, alone, environ)
        settings = image.config.get("config") or {}
        facts = {
            "id": image.id, "size_bytes": sif.stat().st_size, "created": datetime.now(UTC).isoformat(),
            "labels": settings.get("Labels") or {}, "layers": image.config["rootfs"]["diff_ids"],
            "environment": dict(line.split("=", 1) for line in settings.get("Env") or []),
        }  # fmt: skip
        for tag in image.tags:
            self._publish(sif, {**facts, "tag": tag})
            yield tag
        alone.unlink()
        sif.unlink()

    def _publish(self, sif: Path, facts: Mapping[str, Any]) -> None:
        """Put a SIF file and its facts in place, in this order: one that is half there is none."""
        tag = facts["tag"]
        self._name(tag, "json").unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tag-", dir=self.folder) as name:
            copy, told = Path(name) / "image", Path(name) / "facts"
            try:
                os.link(sif, copy)
            except OSError:  # a file system without hard links
                shutil.copyfile(sif, copy)
            told.write_text(json.dumps(facts), encoding="utf-8")
            copy.rename(self._name(tag, "sif"))
            told.rename(self._name(tag, "json"))

    def _name(self, tag: str, kind: str) -> Path:
        return self.folder / f"{hashlib.sha256(tag.encode()).hexdigest()[:24]}.{kind}"

    def _facts(self, tag: str) -> dict[str, Any] | None:
        facts = _read(self._name(tag, "json"))
        return facts if facts is not None and self._name(tag, "sif").is_file() else None

    def _required(self, tag: str) -> dict[str, Any]:
        self.path(tag)
        facts = self._facts(tag)
        assert facts is not None
        return facts


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PrerequisiteError(
            f"{path} cannot be read ({error}).", hint=f"rm {path}; aira-bench images load FILE"
        ) from error


def _images_of(whole: Path) -> list[_Image]:
    """Read the table of contents of an archive as `docker save` writes it."""
    try:
        with tarfile.open(whole) as archive:
            return [_image(archive, entry) for entry in _json(archive, _ARCHIVE_MANIFEST)]
    except (tarfile.TarError, KeyError, TypeError, ValueError, Unacceptable, OSError) as error:
        raise PrerequisiteError(
            f"The archive could not be loaded: {str(error)[:LINE_CHARS]}.", hint="aira-bench images save NEW.tar"
        ) from error


def _image(archive: tarfile.TarFile, entry: Mapping[str, Any]) -> _Image:
    config = _json(archive, entry["Config"])
    digest = hashlib.sha256(_bytes(archive, entry["Config"])).hexdigest()
    layers = tuple(str(each) for each in entry["Layers"])
    if len(layers) != len(config["rootfs"]["diff_ids"]):
        raise ValueError(f"an image of {len(config['rootfs']['diff_ids'])} layers has {len(layers)} of them")
    return _Image(tuple(entry.get("RepoTags") or ()), str(entry["Config"]), config, f"sha256:{digest}", layers)


def _bytes(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    data = file.read(_MOST_JSON_BYTES + 1)
    if len(data) > _MOST_JSON_BYTES:
        raise ValueError(f"{name} is larger than {_MOST_JSON_BYTES} bytes")
    return data


def _json(archive: tarfile.TarFile, name: str) -> Any:  # noqa: ANN401 - whatever the archive says, looked at by callers
    return parse_json(_bytes(archive, name))


def _write_alone(image: _Image, whole: Path, path: Path) -> None:
    """Write an archive of one image: Apptainer's user guide has no word for one among several."""
    told = [{"Config": image.config_name, "RepoTags": list(image.tags[:1]), "Layers": list(image.layers)}]
    manifest = json.dumps(told).encode()
    with tarfile.open(whole) as archive, tarfile.open(path, "w") as single:
        for name in dict.fromkeys([image.config_name, *image.layers]):
            content = archive.extractfile(name)  # through links, by which old archives say that layers are equal
            if content is None:
                raise PrerequisiteError(f"The archive could not be loaded: {name} is no file.")
            header = tarfile.TarInfo(name)
            header.size = content.seek(0, os.SEEK_END)
            content.seek(0)
            single.addfile(header, content)
        header = tarfile.TarInfo(_ARCHIVE_MANIFEST)
        header.size = len(manifest)
        single.addfile(header, io.BytesIO(manifest))


def _build(sif: Path, archive: Path, environ: Mapping[str, str]) -> None:
    sif.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            ["apptainer", "--silent", "build", str(sif), f"docker-archive:{archive}"], env=passed(environ), check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=BUILD_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PrerequisiteError(
            f"Apptainer did not make an image within {BUILD_TIMEOUT_S:.0f} s.", hint="df -h"
        ) from error
    if done.returncode != 0 or not sif.is_file():
        said = " ".join(done.stderr.decode(errors="replace").strip().splitlines()[-1:])[:LINE_CHARS]
        raise PrerequisiteError(
            f"Apptainer could not make an image of the archive: {said or 'it said nothing'}.", hint="apptainer version"
        )
