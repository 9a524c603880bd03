"""A stand-in for the Python with torch: an executable that leaves records as the trainer does, and trains nothing."""

import sys
from pathlib import Path

BODY = """
import hashlib, json, sys
from dataclasses import asdict
from pathlib import Path
sys.path[:0] = {path!r}
from aira_contract.model_sizes import model_size, space_of
from aira_contract.patterns import read_pattern
from aira_contract.pretraining import PretrainIdentity, PretrainRecord
from aira_contract.recipes import find_recipe
if any(word.endswith("toy_tokens") for word in sys.argv):
    Path(sys.argv[-1]).mkdir(parents=True)
    (Path(sys.argv[-1]) / "manifest.json").write_text("[]")
    sys.exit(0)
said = dict(zip(sys.argv[:-1], sys.argv[1:]))
layers, recipe, out = read_pattern(said["--pattern"]), find_recipe(said["--recipe"]), Path(said["--out"])
with (out / "calls").open("a") as calls:
    calls.write("x")
seed = int(said["--seed"])
manifest = (Path(said["--data"]) / "manifest.json").read_bytes()
identity = PretrainIdentity(1, "-".join(layers), said["--scale"], asdict(recipe), seed,
                            {data!r} | {{"sha256": hashlib.sha256(manifest).hexdigest()}},
                            recipe.steps_of(layers, said["--scale"]), 1, 1)
done = identity.steps if {finished} else 7
record = PretrainRecord(identity, done, {finished}, {loss}, 1, "none", 36.0)
(out / "pretrain.json").write_text(json.dumps(asdict(record)))
sys.exit({status})
"""


def trainer(folder: Path, *, finished: bool = True, status: int = 0, loss: str = "3.5") -> str:
    """Return the path of the executable; `loss` is an expression in `layers` and `seed`."""
    path = folder / "python"
    data = {"name": "planted", "synthetic": True, "unigram_entropy": 4.7}
    body = BODY.format(path=sys.path, finished=finished, status=status, loss=loss, data=data)
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)
    return str(path)
