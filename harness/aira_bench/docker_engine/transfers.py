"""Images from one engine to another: through a registry, or as an archive.

Not covered: what is sent (`aira_bench.images.exchange`). Pulls and pushes are bounded by the engine's own network
timeouts, not by ours.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from docker.utils import parse_repository_tag

from aira_bench.docker_engine.images import BUILD_TIMEOUT_S, EngineImages, StreamError, follow
from aira_bench.errors import PrerequisiteError, SandboxError

_LOADED = "Loaded image: "


class EngineTransfers(EngineImages):
    """The part of an engine that sends and takes images."""

    def pull(self, reference: str, on_line: Callable[[str], None]) -> None:
        """Fetch an image from its registry, telling progress line by line.

        Raises:
            PrerequisiteError: no registry answers, or it does not have the image.
        """
        repository, tag = parse_repository_tag(reference)
        try:
            with self._call(f"pull {reference}", missing_is_error=True):
                follow(self._api.pull(repository, tag=tag or "latest", stream=True, decode=True), on_line)
        except (SandboxError, StreamError) as error:
            raise PrerequisiteError(
                f"Image {reference} could not be pulled: {error}", hint=self.words.command(f"pull {reference}")
            ) from error

    def push(self, reference: str, on_line: Callable[[str], None]) -> str:
        """Send an image to the registry that its name begins with; return the digest it has there.

        Raises:
            PrerequisiteError: no registry answers, or it does not take the image.
        """
        repository, tag = parse_repository_tag(reference)
        digests: list[str] = []

        def events() -> Iterator[Mapping[str, Any]]:
            for event in self._api.push(repository, tag=tag, stream=True, decode=True):
                if digest := (event.get("aux") or {}).get("Digest"):
                    digests.append(str(digest))
                yield event

        try:
            with self._call(f"push {reference}", missing_is_error=True):
                follow(events(), on_line)
        except (SandboxError, StreamError) as error:
            raise PrerequisiteError(
                f"Image {reference} could not be pushed: {error}", hint=self.words.command(f"push {reference}")
            ) from error
        return digests[-1]

    def digest(self, tag: str, repository: str) -> str:
        """Return the digest under which an image came from a repository.

        Raises:
            PrerequisiteError: it did not come from there.
        """
        with self._call(f"inspect image {tag}", missing_is_error=True):
            found = self._api.inspect_image(tag)  # type: ignore[no-untyped-call]
        for reference in found.get("RepoDigests") or []:
            name, _, digest = str(reference).partition("@")
            if name == repository:
                return digest
        raise PrerequisiteError(f"Image {tag} has no digest of {repository}.", hint=self.words.command(f"pull {tag}"))

    def saved(self, tags: Sequence[str]) -> Iterator[bytes]:
        """Yield an archive of several images, layers that they share once."""
        with self._call(f"save {', '.join(tags)}", missing_is_error=True):
            # The SDK's own call takes one image.
            answer = self._api.get(
                f"{self._api.base_url}/v{self._api.api_version}/images/get",
                params={"names": list(tags)}, stream=True, timeout=BUILD_TIMEOUT_S,
            )  # fmt: skip
            with answer:
                answer.raise_for_status()
                yield from answer.iter_content(1 << 20)

    def load(self, archive: Iterator[bytes]) -> list[str]:
        """Take images from an archive; return their tags.

        Raises:
            PrerequisiteError: it is none.
        """
        lines: list[str] = []
        try:
            with self._call("load images", missing_is_error=True):
                answer = self._api.post(
                    f"{self._api.base_url}/v{self._api.api_version}/images/load",
                    data=archive, stream=True, timeout=BUILD_TIMEOUT_S,
                )  # fmt: skip
                with answer:
                    answer.raise_for_status()
                    follow((json.loads(line) for line in answer.iter_lines() if line.strip()), lines.append)
        except (SandboxError, StreamError) as error:
            raise PrerequisiteError(
                f"The archive could not be loaded: {error}", hint=self.words.command("load")
            ) from error
        return [line.removeprefix(_LOADED) for line in lines if line.startswith(_LOADED)]
