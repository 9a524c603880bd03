"""Finished images from one machine to others: through a registry, or as a file. A lab builds once.

What goes is a flavour's two images and the libraries they lie on, so that a change of our code builds in seconds there,
too. Tags are hashes of what images were made of, so whoever has the same sources asks for the same tag; what a tag's
content is, its digest says, and a tag whose digest changed is refused.

Not covered: whether whoever built them can be trusted. Judges are in these images: take them only from people whose
scores you would take.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.choices import pin
from aira_bench.images.flavour import LABEL, TARGET_LABEL, TARGETS, Flavour, load_flavour
from aira_bench.unfinished import staging_folder

_OURS = "aira-bench-"
"""What names of all our images begin with."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Sent:
    """One image in a registry."""

    tag: str
    digest: str
    """`sha256:` and the hash of its manifest."""


def transported(recipe: Flavour) -> tuple[str, ...]:
    """Return the tags that go together: images, then libraries."""
    return (*map(recipe.tag, TARGETS), *map(recipe.libraries_tag, TARGETS))


def push_images(flavour: str, registry: str, engine: DockerEngine, note: Callable[[str], None]) -> list[Sent]:
    """Send a flavour's images to a registry, as `REGISTRY/TAG`.

    Raises:
        PrerequisiteError: they are not built, or the registry does not take them.
    """
    recipe = load_flavour(flavour)
    _require_built(recipe, engine)
    sent = []
    for tag in transported(recipe):
        remote = _remote(registry, tag)
        note(f"sending {remote}")
        engine.tag_image(tag, remote)
        try:
            sent.append(Sent(tag, engine.push(remote, lambda line: None)))
        finally:
            engine.remove_image(remote)
    return sent


def pull_images(
    flavour: str, registry: str, engine: DockerEngine, note: Callable[[str], None], digests: Sequence[str] = ()
) -> list[Sent]:
    """Fetch the images that the installed sources ask for from a registry.

    Args:
        flavour: which.
        registry: `HOST[:PORT][/PATH]`.
        engine: fetches.
        note: told what happens.
        digests: what the images must be, in the order that `push_images` told; none for whatever the tags are there,
            which must be what this machine first saw them to be.

    Raises:
        UsageError: not as many digests as images, or one that is none.
        PrerequisiteError: the registry has them not, or others.
    """
    recipe = load_flavour(flavour)
    tags = transported(recipe)
    if digests and len(digests) != len(tags):
        raise UsageError(
            f"{len(digests)} digests for {len(tags)} images; a push prints them.",
            hint="aira-bench images push REGISTRY",
        )
    if wrong := [digest for digest in digests if not _DIGEST.fullmatch(digest)]:
        raise UsageError(  # the engine takes any word behind a name for a tag
            f"{wrong[0]!r} is no digest, which is sha256: and 64 digits; a push prints them.",
            hint="aira-bench images push REGISTRY",
        )
    fetched = []
    for tag, digest in zip(tags, digests or [""] * len(tags), strict=True):
        remote = _remote(registry, tag)
        named = f"{remote.rpartition(':')[0]}@{digest}" if digest else remote
        note(f"fetching {named}")
        engine.pull(named, lambda line: None)
        try:
            found = engine.digest(named, remote.rpartition(":")[0])
            _require_labels(recipe, tag, engine.image_labels(named))
            _require_first_seen(tag, found, registry)
            engine.tag_image(named, tag)
        finally:  # by its name in the registry nobody asks for it
            engine.remove_image(named)
        fetched.append(Sent(tag, found))
    return fetched


def save_images(flavour: str, path: Path, engine: DockerEngine, note: Callable[[str], None]) -> str:
    """Write a flavour's images to one file, layers once; return its SHA-256.

    Raises:
        PrerequisiteError: they are not built.
        UsageError: the file is there already, or its folder is not.
    """
    recipe = load_flavour(flavour)
    _require_built(recipe, engine)
    if path.exists() or not path.parent.is_dir():
        raise UsageError(f"{path} is there already, or its folder is not.", hint="aira-bench images save NEW.tar")
    digest = hashlib.sha256()
    with staging_folder(path.absolute(), secrets.token_hex(6)) as partial:
        note(f"writing {path}")
        with (partial / path.name).open("wb") as file:
            for chunk in engine.saved(transported(recipe)):
                digest.update(chunk)
                file.write(chunk)
        (partial / path.name).rename(path)
    return digest.hexdigest()


def load_images(
    flavour: str, path: Path, engine: DockerEngine, note: Callable[[str], None], digests: Sequence[str] = ()
) -> str:
    """Take images from a file that `save_images` wrote; return its SHA-256. A file that is refused changes no image.

    Args:
        flavour: which.
        path: the file.
        engine: takes them.
        note: told what happens.
        digests: the file's SHA-256, as `save_images` told it; none for whatever it is.

    Raises:
        UsageError: there is no such file, or several digests for it.
        PrerequisiteError: it is another file, holds no images, or those of other sources.
    """
    recipe = load_flavour(flavour)
    if not path.is_file():
        raise UsageError(
            f"There is no file {path}; it is made where the images are built.", hint="aira-bench images save FILE"
        )
    if len(digests) > 1:
        raise UsageError(f"{len(digests)} digests for one file.", hint="aira-bench images save FILE")
    for expected in digests:
        _require_hash(path, expected)
    note(f"reading {path}")
    digest = hashlib.sha256()

    def read() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                yield chunk

    before = {image.tag: image.id for image in engine.list_images(LABEL)}
    loaded = engine.load(read())
    try:
        _require_wanted(recipe, path, loaded, engine)
    except PrerequisiteError:
        _restore(before, loaded, engine)
        raise
    return digest.hexdigest()


def _require_hash(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.removeprefix("sha256:"):
        raise PrerequisiteError(
            f"{path} has sha256 {found}, expected {expected}.", hint="fetch it again, or ask who saved it"
        )


def _require_wanted(recipe: Flavour, path: Path, loaded: Sequence[str], engine: DockerEngine) -> None:
    wanted = set(transported(recipe))
    if not wanted <= set(loaded):
        raise PrerequisiteError(
            f"{path} holds {', '.join(loaded) or 'no images'}; the installed sources ask for {recipe.tag('agent')}.",
            hint="aira-bench --version on both machines, or aira-bench images build",
        )
    for tag in sorted(wanted):
        _require_labels(recipe, tag, engine.image_labels(tag))


def _restore(before: Mapping[str, str], loaded: Sequence[str], engine: DockerEngine) -> None:
    """Take the names back that runs ask for, from what a refused file brought."""
    for tag in loaded:
        if tag in before:
            engine.tag_image(before[tag], tag)
        elif tag.startswith(_OURS):
            engine.remove_image(tag)


def _remote(registry: str, tag: str) -> str:
    return f"{registry.removeprefix('https://').rstrip('/')}/{tag}"


def _require_built(recipe: Flavour, engine: DockerEngine) -> None:
    if missing := [tag for tag in transported(recipe) if not engine.image_exists(tag)]:
        raise PrerequisiteError(
            f"Not built here: {', '.join(missing)}.", hint=f"aira-bench images build --flavour {recipe.name}"
        )


def _require_first_seen(tag: str, digest: str, registry: str) -> None:
    if (first := pin(tag, digest)) != digest:
        raise PrerequisiteError(
            f"{tag} in {registry} is {digest}, but was {first} when this machine first fetched it.",
            hint="ask who pushed it; AIRA_HOME/images.json holds what was seen first",
        )


def _require_labels(recipe: Flavour, tag: str, labels: dict[str, str]) -> None:
    """Refuse an image that says itself that it is another."""
    target = next((target for target in TARGETS if tag == recipe.tag(target)), None)
    expected = {LABEL: recipe.name} | ({TARGET_LABEL: target} if target else {})
    if seen := {name: labels.get(name) for name, value in expected.items() if labels.get(name) != value}:
        raise PrerequisiteError(f"{tag} is an image of something else: {seen}, expected {expected}.")
