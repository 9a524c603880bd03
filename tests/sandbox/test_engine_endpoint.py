"""Which engine is meant: variables, contexts and the docker command's configuration, and addresses that are none."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.docker_engine.endpoint import find_engine
from aira_bench.errors import PrerequisiteError

PEM = ("ca", "cert", "key")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / ".docker"


def context(config: Path, name: str, endpoint: object, tls: tuple[str, ...] = ()) -> None:
    """Write a context as `docker context create` does."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    for each in tls:
        path = config / "contexts" / "tls" / key / "docker" / f"{each}.pem"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def use(config: Path, name: str) -> None:
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))


def address(config: Path, **environ: str) -> object:
    return find_engine({"HOME": str(config.parent)} | environ).settings.get("base_url")


def test_the_order_is_the_docker_commands(config: Path) -> None:
    assert address(config) is None, "the default socket"
    context(config, "rootless", {"Host": "unix:///run/user/1000/docker.sock", "SkipTLSVerify": False})
    context(config, "other", {"Host": "tcp://10.0.0.1:2375"})
    use(config, "rootless")
    assert address(config) == "unix:///run/user/1000/docker.sock"
    assert address(config, DOCKER_CONTEXT="other") == "tcp://10.0.0.1:2375"
    assert address(config, DOCKER_CONTEXT="default") is None
    assert str(address(config, DOCKER_HOST="unix:///mine.sock", DOCKER_CONTEXT="other")).endswith("///mine.sock")
    assert address(config, DOCKER_CONFIG="/nowhere") is None
    use(config, "default")
    assert address(config) is None


def test_a_context_over_tls_has_its_certificates(config: Path) -> None:
    context(config, "lab", {"Host": "tcp://lab.example:2376", "SkipTLSVerify": False}, PEM)
    settings = find_engine({"HOME": str(config.parent), "DOCKER_CONTEXT": "lab"}).settings
    assert settings["base_url"] == "https://lab.example:2376"
    ca, cert, key = (str(next(config.rglob(f"{each}.pem"))) for each in PEM)
    assert settings["tls"].ca_cert == ca
    assert settings["tls"].cert == (cert, key)
    assert settings["tls"].verify is True


@pytest.mark.parametrize(
    "host",
    ["nonsense://x", "tcp://", "tcp://host:abc", "tcp://host", "::::", "fd://", "tcp://[::1", "tcp://host:99999"],
)
def test_an_address_that_is_none_is_told_with_the_way_out(config: Path, host: str) -> None:
    told = r"has the address '.*', expected one such as unix:///var/run/docker\.sock"
    with pytest.raises(PrerequisiteError, match=rf"^DOCKER_HOST {told}.*Try: unset DOCKER_HOST"):
        address(config, DOCKER_HOST=host)
    context(config, "broken", {"Host": host})
    with pytest.raises(PrerequisiteError, match=rf"^Docker context 'broken' {told}.*Try: unset DOCKER_CONTEXT"):
        address(config, DOCKER_CONTEXT="broken")
    use(config, "broken")
    with pytest.raises(PrerequisiteError, match="Try: docker context use default"):
        address(config)


def test_a_context_that_is_gone_or_damaged_is_not_the_default_one(config: Path) -> None:
    use(config, "gone")
    with pytest.raises(PrerequisiteError, match=r"no Docker context 'gone', which .*config\.json names"):
        address(config)
    for name, endpoint in (("empty", {}), ("list", []), ("null", None)):
        context(config, name, endpoint)
        with pytest.raises(PrerequisiteError, match="names no address"):
            address(config, DOCKER_CONTEXT=name)
    for meta in (config / "contexts").rglob("meta.json"):
        meta.write_text("{")
    with pytest.raises(PrerequisiteError, match="cannot be used"):
        address(config, DOCKER_CONTEXT="empty")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"currentContext": 7}', "[" * 100_000, "\udcff"])
def test_a_configuration_that_cannot_be_read_names_no_context(config: Path, text: str) -> None:
    """So the docker command takes it, with a warning of its own."""
    config.mkdir()
    (config / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    assert address(config) is None


def test_certificates_that_are_not_there_are_told(config: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"}
    with pytest.raises(PrerequisiteError, match=r"DOCKER_CERT_PATH cannot be used"):
        address(config, **environ)


def test_what_named_a_dead_engine_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context(config, "dead", {"Host": f"unix://{config}/nothing.sock"})
    use(config, "dead")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    with pytest.raises(PrerequisiteError, match=r"answers at unix://.*, which Docker context 'dead' names"):
        DockerEngine.connect()


@pytest.mark.docker
def test_an_engine_is_reached_by_a_context_of_the_docker_command(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    for command in (["create", "mine", "--docker", "host=unix:///var/run/docker.sock"], ["use", "mine"]):
        subprocess.run(["docker", "context", *command], check=True, capture_output=True, env=dict(os.environ))
    assert find_engine(os.environ).named_by == "Docker context 'mine'"
    engine = DockerEngine.connect()
    assert engine.info().version
    engine.close()
