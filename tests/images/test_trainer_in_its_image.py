"""The trainer in the evaluator image: the toy recipe for a few steps, on two ranks and on one, without a network."""

import json
import subprocess

import pytest

from aira_bench.images.ensure import ImageSet

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

SCRIPT = """
set -e
python3 -m aira_evaluator.pretrain.toy_tokens /tmp/tokens --documents 400 --vocabulary 512 >&2
train() { "$@" -m aira_evaluator.pretrain.train --pattern "Mb-M-A" --scale toy --recipe toy --data /tmp/tokens \
    --out /tmp/trained --device cpu --stop-after 3 >&2 || status=$?; echo $status; }
train python3 -m torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node 2
train python3
python3 -c "import json; print(json.dumps([json.loads(line) for line in open('/tmp/trained/events.jsonl')]))"
cat /tmp/trained/pretrain.json
"""


def test_a_toy_trains_in_the_evaluator_image(images: ImageSet) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
         "--memory", "3g", "--env", "OMP_NUM_THREADS=1", images.evaluator, "bash", "-c", SCRIPT],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    two, one, events, record = done.stdout.split("\n", 3)
    assert one == "75", "a rank alone says that it was stopped"
    assert two in ("1", "75"), "torchrun ends with a status of its own"
    assert [(event["event"], event["step"], event.get("ranks")) for event in json.loads(events)] == [
        ("started", 0, 2), ("stopped", 3, None), ("started", 3, 1), ("stopped", 6, None),
    ]  # fmt: skip
    found = json.loads(record)
    assert found["steps_done"] == 6
    assert found["identity"]["data"]["synthetic"]
    assert found["identity"]["recipe"]["name"] == "toy"
