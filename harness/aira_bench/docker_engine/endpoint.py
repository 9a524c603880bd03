"""Which engine is meant, found as the docker command finds it: a variable, a context, or the default socket.

In this order: DOCKER_HOST; DOCKER_CONTEXT; the context that `docker context use` wrote into the configuration; the
default socket. A context is a file with an address and, where that is reached over TLS, three more.

Not covered: the command's `--host` and `--context`, and engines whose files are not this machine's.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import DockerException
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env, parse_host

from aira_bench.errors import PrerequisiteError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.files import Unacceptable, parse_json, read_text, reason

_MOST_BYTES = 1 << 20
_DEFAULT = "default"


@dataclass(frozen=True)
class EngineAddress:
    """Where an engine answers, and who says so."""

    settings: Mapping[str, Any]
    """Keywords of the SDK's client."""
    named_by: str = ""
    """The variable or context, empty for the default socket."""
    otherwise: str = "sudo systemctl start docker"
    """What to type where no engine answers there."""

    @property
    def address(self) -> str:
        """The address, for messages."""
        return str(self.settings.get("base_url") or "the default socket")


def find_engine(environ: Mapping[str, str]) -> EngineAddress:
    """Return the endpoint that the environment and the docker command's configuration name.

    Raises:
        PrerequisiteError: an address is malformed, a context is not there, or a file cannot be used.
    """
    if host := environ.get("DOCKER_HOST"):
        with_tls = bool(environ.get("DOCKER_TLS_VERIFY")) or bool(environ.get("DOCKER_CERT_PATH"))
        require_address(host, "DOCKER_HOST", "unset DOCKER_HOST", tls=with_tls)
        try:
            return EngineAddress(kwargs_from_env(dict(environ)), "DOCKER_HOST", "docker info   (or unset DOCKER_HOST)")
        except (DockerException, OSError) as error:
            raise PrerequisiteError(
                f"DOCKER_CERT_PATH cannot be used: {error}.", hint="unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH"
            ) from error
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or os.devnull) / ".docker")
    name, named_by = environ.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
    if not name:
        name, named_by = _current_context(folder / "config.json"), str(folder / "config.json")
    if not name or name == _DEFAULT:
        return EngineAddress({})
    return _of_context(folder, str(name), named_by)


def _current_context(config: Path) -> str | None:
    """As the docker command reads it, for which a configuration that it cannot read names no context."""
    try:
        found = json.loads(read_text(config, _MOST_BYTES))["currentContext"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def _of_context(folder: Path, name: str, named_by: str) -> EngineAddress:
    default = "unset DOCKER_CONTEXT" if named_by == "DOCKER_CONTEXT" else "docker context use default"
    key = hashlib.sha256(name.encode()).hexdigest()
    found = _read(folder / "contexts" / "meta" / key / "meta.json", default)
    if found is None:
        raise PrerequisiteError(
            f"There is no Docker context {name[:VALUE_CHARS]!r}, which {named_by} names.", hint=default
        )
    try:
        endpoint = found["Endpoints"]["docker"]
        host, unverified = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify", False))
    except (KeyError, TypeError, AttributeError) as error:
        raise PrerequisiteError(f"Docker context {name[:VALUE_CHARS]!r} names no address.", hint=default) from error
    files = {each: folder / "contexts" / "tls" / key / "docker" / f"{each}.pem" for each in ("ca", "cert", "key")}
    there = {each: str(path) for each, path in files.items() if path.is_file()}
    require_address(host, f"Docker context {name[:VALUE_CHARS]!r}", default, tls=bool(there))
    settings: dict[str, Any] = {"base_url": host, "use_ssh_client": host.startswith("ssh://")}
    if there:
        pair = (there["cert"], there["key"]) if {"cert", "key"} <= set(there) else None
        settings["tls"] = TLSConfig(client_cert=pair, ca_cert=there.get("ca"), verify=not unverified)
        settings["base_url"] = host.replace("tcp://", "https://", 1)
    return EngineAddress(settings, f"Docker context {name[:VALUE_CHARS]!r}", default)


def require_address(host: str, named_by: str, otherwise: str, *, tls: bool = False) -> None:
    """Whether an engine can have such an address.

    Raises:
        PrerequisiteError: it cannot; the message says who named it.
    """
    try:
        parse_host(host, False, tls)
    except (DockerException, ValueError) as error:
        raise PrerequisiteError(
            f"{named_by} has the address {host[:VALUE_CHARS]!r}, expected one such as unix:///var/run/docker.sock or "
            "tcp://HOST:2376.",
            hint=otherwise,
        ) from error


def _read(path: Path, otherwise: str) -> dict[str, Any] | None:
    try:
        value = parse_json(read_text(path, _MOST_BYTES))
        if not isinstance(value, dict):
            raise Unacceptable(f"it holds {type(value).__name__}, expected an object")
    except FileNotFoundError:
        return None
    except (OSError, Unacceptable) as error:
        raise PrerequisiteError(
            f"The docker command's {path} cannot be used: {reason(error)}.", hint=otherwise
        ) from error
    return value
