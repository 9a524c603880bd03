"""What can go wrong with the engine, as errors of ours: the SDK's exceptions end here.

Not covered: what a failure means for a step (`aira_bench.sandbox.ending`).
"""

import contextlib
from collections.abc import Iterator

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


@contextlib.contextmanager
def engine_call(what: str, *, missing_is_error: bool = False) -> Iterator[None]:
    """Turn the SDK's exceptions into ours; `NotFound` passes unless `missing_is_error`."""
    try:
        yield
    except NotFound as error:
        if missing_is_error:
            raise NotThere(f"Docker could not {what}: {error.explanation}") from error
        raise
    except APIError as error:
        reason = f"Docker could not {what}: {error.explanation or error}"
        status = error.response.status_code if error.response is not None else 0
        if status == requests.codes.conflict:
            raise Conflict(reason) from error
        if status < requests.codes.server_error:
            raise SandboxError(reason) from error
        away = sum(word in reason.lower() for word in _RUNTIME_IS_AWAY) > 1
        raise (EngineAway(reason, hint="docker info") if away else NotDone(reason)) from error
    except requests.ReadTimeout as error:
        raise NotDone(f"Docker could not {what}: no answer in time ({error}).", hint="docker info") from error
    except DockerException as error:
        raise SandboxError(f"Docker could not {what}: {error}", hint="docker info") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        machine = machine_failure(error)  # our own want of descriptors is nothing that the engine did
        if machine is not None:
            raise machine from error
        raise EngineAway(
            f"Docker could not {what}: no answer from the daemon ({error}).", hint="docker info"
        ) from error


def unreachable(error: BaseException, endpoint: EngineAddress) -> PrerequisiteError:
    """Why no daemon answers at an endpoint, in words that say what to do."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(cause, PermissionError) or "Permission denied" in str(cause) for cause in causes):
        return PrerequisiteError(
            "Docker runs, but this user may not use its socket.",
            hint='sudo usermod -aG docker "$USER" && newgrp docker',
        )
    named = f", which {endpoint.named_by} names" if endpoint.named_by else ""
    return PrerequisiteError(
        f"No Docker daemon answers at {endpoint.address}{named} ({error}).", hint=endpoint.otherwise
    )
