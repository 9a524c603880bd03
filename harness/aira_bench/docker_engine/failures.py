"""What can go wrong with the engine, as errors of ours: the SDK's exceptions end here.

Not covered: what a failure means for a step (`aira_bench.sandbox.ending`).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import requests
import urllib3.exceptions
from docker.errors import APIError, DockerException, NotFound

from aira_bench.docker_engine.endpoint import EngineAddress
from aira_bench.errors import EngineAway, PrerequisiteError, SandboxError
from aira_bench.machine_failures import machine_failure

_RUNTIME_IS_AWAY = ("containerd", "transport", "unavailable", "shutting down")
"""In what a daemon says that answers and cannot work, since the process below it is being restarted, or itself ends."""


class Conflict(SandboxError):
    """The name is taken, or the object is in a state that makes the call pointless."""


class NotThere(SandboxError):
    """The engine knows nothing of what it was asked about."""


class NotDone(SandboxError):
    """The engine took the call and did not get it done, or not in the time a call has."""


@dataclass(frozen=True)
class EngineWords:
    """What messages call an engine, and the commands that they tell to type."""

    name: str = "Docker"
    program: str = "docker"
    service: str = "daemon"

    def command(self, arguments: str) -> str:
        """Return the engine's own command; Apptainer has none that shows what runs, or what there is."""
        return f"{self.program} {arguments}" if self.program != "apptainer" else "ps -ef | grep apptainer"


@contextlib.contextmanager
def engine_call(words: EngineWords, what: str, *, missing_is_error: bool = False) -> Iterator[None]:
    """Turn the SDK's exceptions into ours; `NotFound` passes unless `missing_is_error`."""
    info = words.command("info")
    try:
        yield
    except NotFound as error:
        if missing_is_error:
            raise NotThere(f"{words.name} could not {what}: {error.explanation}") from error
        raise
    except APIError as error:
        reason = f"{words.name} could not {what}: {error.explanation or error}"
        status = error.response.status_code if error.response is not None else 0
        if status == requests.codes.conflict:
            raise Conflict(reason) from error
        if status < requests.codes.server_error:
            raise SandboxError(reason) from error
        away = sum(word in reason.lower() for word in _RUNTIME_IS_AWAY) > 1
        raise (EngineAway(reason, hint=info) if away else NotDone(reason)) from error
    except requests.ReadTimeout as error:
        raise NotDone(f"{words.name} could not {what}: no answer in time ({error}).", hint=info) from error
    except DockerException as error:
        raise SandboxError(f"{words.name} could not {what}: {error}", hint=info) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        machine = machine_failure(error)  # our own want of descriptors is nothing that the engine did
        if machine is not None:
            raise machine from error
        raise EngineAway(
            f"{words.name} could not {what}: no answer from the {words.service} ({error}).", hint=info
        ) from error


def unreachable(words: EngineWords, error: BaseException, endpoint: EngineAddress) -> PrerequisiteError:
    """Why no engine answers at an endpoint, in words that say what to do."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(cause, PermissionError) or "Permission denied" in str(cause) for cause in causes):
        docker = 'sudo usermod -aG docker "$USER" && newgrp docker'
        return PrerequisiteError(
            f"{words.name} runs, but this user may not use its socket.",
            hint=docker if words.program == "docker" else endpoint.otherwise,
        )
    named = f", which {endpoint.named_by} names" if endpoint.named_by else ""
    return PrerequisiteError(
        f"No {words.name} {words.service} answers at {endpoint.address}{named} ({error}).", hint=endpoint.otherwise
    )
