"""The images of a Docker engine: looking, building, tagging, removing.

Not covered: images from elsewhere and to elsewhere (`transfers`), and which there are to be (`aira_bench.images`).
"""

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound
from docker.utils import parse_repository_tag

from aira_bench.docker_engine.archives import packed, unpacked
from aira_bench.docker_engine.failures import EngineWords, engine_call
from aira_bench.errors import PrerequisiteError, SandboxError

BUILD_TIMEOUT_S = 1800
"""Longest silence of one build step."""


@dataclass(frozen=True)
class ImageInfo:
    """One tag of a local image."""

    tag: str
    id: str
    size_bytes: int
    created: datetime
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ImageDetails:
    """What a local image consists of."""

    layers: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables that its containers begin with."""


class StreamError(Exception):
    """An error the engine reported within a stream that had begun well."""


class EngineImages:
    """The part of an engine that has to do with images."""

    builds_images = True
    """False where it takes images from a file alone."""
    words = EngineWords()
    """What its messages call it."""

    def __init__(self, api: docker.APIClient) -> None:
        self._api = api

    def _call(self, what: str, *, missing_is_error: bool = False) -> contextlib.AbstractContextManager[None]:
        """Turn the SDK's exceptions into ours, in this engine's words (`engine_call`)."""
        return engine_call(self.words, what, missing_is_error=missing_is_error)

    def image_exists(self, tag: str) -> bool:
        """Whether a local image has this tag."""
        try:
            with self._call(f"look for image {tag}"):
                self._api.inspect_image(tag)  # type: ignore[no-untyped-call]
        except NotFound:
            return False
        return True

    def inspect_image(self, tag: str) -> ImageDetails:
        """Return what the image of that tag consists of.

        Raises:
            PrerequisiteError: there is none.
        """
        try:
            with self._call(f"inspect image {tag}"):
                found = self._api.inspect_image(tag)  # type: ignore[no-untyped-call]
        except NotFound as error:
            raise PrerequisiteError(f"There is no image {tag}.", hint="aira-bench images build") from error
        pairs = (line.partition("=") for line in found["Config"].get("Env") or [])
        return ImageDetails(
            layers=tuple(str(layer) for layer in found["RootFS"].get("Layers") or []),
            environment={name: value for name, _, value in pairs},
        )

    def list_images(self, label: str) -> list[ImageInfo]:
        """Return all tagged local images carrying `label` (a name, or `name=value`), newest first."""
        with self._call("list images", missing_is_error=True):
            found = self._api.images(filters={"label": [label]})
        images = [
            ImageInfo(
                tag=tag,
                id=str(image["Id"]),
                size_bytes=int(image["Size"]),
                created=datetime.fromtimestamp(int(image["Created"]), UTC),
                labels=dict(image.get("Labels") or {}),
            )
            for image in found
            for tag in image.get("RepoTags") or []
            if tag != "<none>:<none>"
        ]
        return sorted(images, key=lambda image: image.created, reverse=True)

    def image_labels(self, tag: str) -> dict[str, str]:
        """Return the labels of an image."""
        with self._call(f"inspect image {tag}", missing_is_error=True):
            found = self._api.inspect_image(tag)  # type: ignore[no-untyped-call]
        return dict(found["Config"].get("Labels") or {})

    def import_root(self, tar_path: Path, tag: str, labels: Mapping[str, str]) -> None:
        """Make an image of one layer from a tar archive of a root file system.

        Raises:
            PrerequisiteError: the engine refused the archive.
        """
        repository, version = parse_repository_tag(tag)
        changes = [f"LABEL {json.dumps(name)}={json.dumps(value)}" for name, value in sorted(labels.items())]
        try:
            with self._call(f"import {tar_path.name}", missing_is_error=True):
                answer = self._api.import_image(str(tar_path), repository=repository, tag=version, changes=changes)
                follow((json.loads(line) for line in answer.splitlines() if line.strip()), lambda _: None)
        except (SandboxError, StreamError) as error:
            raise PrerequisiteError(
                f"Image {tag} could not be imported: {error}", hint=self.words.command("info")
            ) from error

    def build(
        self,
        context: Path,
        dockerfile: str,
        target: str,
        tag: str,
        labels: Mapping[str, str],
        build_args: Mapping[str, str],
        on_line: Callable[[str], None],
        *,
        network: str = "none",
    ) -> None:
        """Build `target` of `context`/`dockerfile`. Build steps have no network unless `network` says otherwise.

        Raises:
            PrerequisiteError: a build step failed; the message carries the engine's reason.
        """
        try:
            with self._call(f"build {tag}", missing_is_error=True):
                lines = self._api.build(
                    fileobj=packed(context),  # type: ignore[arg-type]  # its request takes any stream
                    custom_context=True,
                    dockerfile=dockerfile,
                    target=target,
                    tag=tag,
                    labels=dict(labels),
                    buildargs=dict(build_args),
                    network_mode=network,
                    timeout=BUILD_TIMEOUT_S,
                    rm=True,
                    forcerm=True,
                    decode=True,
                )
                follow(lines, on_line)
        except (SandboxError, StreamError) as error:
            raise PrerequisiteError(f"Image {tag} could not be built: {error}", hint="aira-bench doctor") from error

    def remove_image(self, tag: str) -> None:
        """Remove a tag, and the image with its last tag. A tag that is not there is no error."""
        with contextlib.suppress(NotFound), self._call(f"remove image {tag}"):
            self._api.remove_image(tag)

    def remove_unnamed(self, label: str) -> None:
        """Remove images without a tag that carry `label`: stages that builds left. What is in use stays."""
        with self._call("list images", missing_is_error=True):
            found = self._api.images(filters={"label": [label], "dangling": True})
        self._remove_layers(str(image["Id"]) for image in found)

    def remove_unfinished(self, layers: Collection[str], kept_label: str) -> None:
        """Remove what a build left that failed, but for what carries `kept_label`. What is in use stays.

        Args:
            layers: the beginnings of ids that the build told of, 12 hexadecimal digits each. Those that have a tag, or
                that another image consists of, are not removed.
            kept_label: a label's name.
        """
        with self._call("list images", missing_is_error=True):
            found = self._api.images(filters={"dangling": True})
        ids = {str(image["Id"]): image for image in found if kept_label not in (image.get("Labels") or {})}
        self._remove_layers(each for each in ids if each.removeprefix("sha256:")[:12] in layers)

    def _remove_layers(self, ids: Iterable[str]) -> None:
        for each in ids:
            # Not the SDK's own call, whose deadline is that of small things: ten gigabytes of files take minutes.
            with self._call("remove what a build left", missing_is_error=True):
                address = f"{self._api.base_url}/v{self._api.api_version}/images/{each}"
                self._api.delete(address, timeout=BUILD_TIMEOUT_S).close()

    def copy_out(self, image: str, folder: str, into: Path) -> list[Path]:
        """Copy the regular files directly in a folder of an image into one of this machine; return their paths.

        Raises:
            PrerequisiteError: there is no such image, or no such folder in it.
        """
        try:
            with self._call(f"copy out of {image}"):
                created = self._api.create_container_from_config(  # its command never runs
                    {"Image": image, "Cmd": ["none"], "NetworkDisabled": True}
                )  # type: ignore[no-untyped-call]
                try:
                    stream, _ = self._api.get_archive(str(created["Id"]), folder)
                    return unpacked(stream, into)
                finally:
                    self._api.remove_container(created["Id"], v=True, force=True)
        except NotFound as error:
            raise PrerequisiteError(f"Image {image} has no {folder}.", hint=self.words.command("images")) from error

    def tag_image(self, source: str, tag: str) -> None:
        """Give the image `source` another tag.

        Raises:
            PrerequisiteError: there is no image `source`.
        """
        repository, version = parse_repository_tag(tag)
        try:
            with self._call(f"tag {source} as {tag}"):
                self._api.tag(source, repository, tag=version)
        except NotFound as error:
            raise PrerequisiteError(
                f"There is no image {source} to tag as {tag}.", hint=self.words.command("images")
            ) from error


def follow(events: Iterable[Mapping[str, Any]], on_line: Callable[[str], None]) -> None:
    """Tell each line of an engine's stream of events.

    Raises:
        StreamError: an event is an error.
    """
    for event in events:
        if "error" in event:
            raise StreamError(str(event["error"]).strip())
        text = event.get("stream") or " ".join(str(event[key]) for key in ("id", "status") if event.get(key))
        for line in str(text).splitlines():
            if line.strip():
                on_line(line.rstrip())
