"""Hidden tokens that a predict container leaves in the kernel, as names looked up, tell a later agent container nothing.

The sender is dead before the receiver gets its files. The same pair with walls taken away shows that neither is deaf.
"""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from small_steps import SMALL

from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox import caches
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ArtifactRequest, ContainerSpec, Role

pytestmark = pytest.mark.docker

TOKENS, TOKEN_BITS = 256, 13
FOLDERS = ("/usr/lib", "/opt/aira/lib/python3.11/site-packages", "/etc", "/", "/sys")
SEND = """
import json, os
secret = json.load(open("secret.json"))
for folder in secret["folders"]:
    for number, token in enumerate(secret["tokens"]):
        for bit in range(13):
            for copy in range(3 * (token >> bit & 1)):
                os.path.exists(f"{folder}/aira-{secret['key']}-{number}-{bit}-{copy}")
"""
RECEIVE = """
import json, os, statistics, time
asked = json.load(open("asked.json"))
def look(name):
    start_ns = time.perf_counter_ns()
    try:
        os.stat(name)
    except OSError:
        pass
    return time.perf_counter_ns() - start_ns
heard = {}
for folder in asked["folders"]:
    for number in range(200):
        look(f"{folder}/aira-warm-{asked['key']}-{number}")
    times = [
        [
            statistics.median(look(f"{folder}/aira-{asked['key']}-{number}-{bit}-{copy}") for copy in range(3))
            for bit in range(13)
        ]
        for number in range(asked["tokens"])
    ]
    # A name that is remembered is found missing in half the time; half of all bits are ones.
    threshold = statistics.median(each for token in times for each in token)
    heard[folder] = [sum((each < threshold) << bit for bit, each in enumerate(token)) for token in times]
json.dump(heard, open("heard.json", "w"))
"""


def run(sandbox: DockerSandbox, spec: ContainerSpec, role: Role, code: str, words: object, destination: Path) -> None:
    """Run code with a file of `words`, and wait until its container is dead."""
    container = sandbox.prepare(replace(spec, role=role, limits=SMALL))
    name = "secret.json" if role == "predict" else "asked.json"
    try:
        outcome = container.run(
            ["python3", "s.py"],
            files={"s.py": code.encode(), name: json.dumps(words).encode()},
            timeout_s=120,
            artifacts=[ArtifactRequest("heard.json", 1 << 20)],
            destination=destination,
        )
    finally:
        container.close()
    assert outcome.exit_code == 0, outcome.stderr.head


def leaked(
    sandbox: DockerSandbox, spec: ContainerSpec, folders: tuple[str, ...], destination: Path, tokens: int = TOKENS
) -> dict[str, tuple[float, int]]:
    """By folder: the share of bits that arrive wrong, and how many tokens arrive whole."""
    draw = random.Random()
    secret = [draw.getrandbits(TOKEN_BITS) for _ in range(tokens)]
    key = f"{draw.getrandbits(48):012x}"
    run(sandbox, spec, "predict", SEND, {"folders": folders, "tokens": secret, "key": key}, destination)
    run(sandbox, spec, "agent", RECEIVE, {"folders": folders, "tokens": tokens, "key": key}, destination)
    heard = json.loads((destination / "heard.json").read_bytes())
    return {
        folder: (
            sum((sent ^ got).bit_count() for sent, got in zip(secret, heard[folder], strict=True))
            / (tokens * TOKEN_BITS),
            sum(sent == got for sent, got in zip(secret, heard[folder], strict=True)),
        )
        for folder in folders
    }


def at_chance(found: dict[str, tuple[float, int]]) -> bool:
    """Whether a coin explains it: 3,328 bits have a standard error of 0.009; of 256 tokens 0.03 are right by luck."""
    return all(0.46 < errors < 0.54 and whole <= 3 for errors, whole in found.values())


@pytest.mark.parametrize("own_trees", [True, False], ids=["own trees", "dropped caches"])
def test_hidden_tokens_stay_at_chance(
    engine: DockerEngine, spec: ContainerSpec, tmp_path: Path, own_trees: bool
) -> None:
    with DockerSandbox(engine, own_trees=own_trees) as sandbox:
        found = sandbox.isolation(spec.image, "predict", gpu=False)
        if found.word == "shared" or (own_trees and found.word != "own trees"):
            pytest.skip(f"not on this machine: {found.reason}")
        heard = leaked(sandbox, spec, FOLDERS, tmp_path)
    assert at_chance(heard), heard


def test_without_walls_the_same_pair_passes_them(
    engine: DockerEngine, spec: ContainerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches.Caches, "soil", lambda *_, **__: None)
    with DockerSandbox(engine, runtime="runc", own_trees=False) as sandbox:
        # Another process of this machine may free names between the two, so there are three attempts.
        for folder in ("/usr/lib", "/etc", "/usr/share"):
            heard = leaked(sandbox, spec, (folder,), tmp_path)[folder]
            if heard[0] < 0.1 and heard[1] > TOKENS // 4:
                return
    pytest.fail(f"sender or receiver is deaf: {heard}")
