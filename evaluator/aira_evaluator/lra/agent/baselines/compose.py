"""Writes a whole `model.py` from a genome: the parts it needs, end to end, with one head of imports and constants.

The parts are read as text, so that what is submitted is what agents can read, to the letter. Not covered: whether the
module learns.
"""

import ast
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from aira_contract.files import MODULE_FILE
from aira_contract.genomes import CHOICES
from aira_evaluator.lra.agent.baselines.genome import Genome, read_genome
from aira_evaluator.lra.contract.hyperparameters import CONSTANTS
from aira_evaluator.lra.contract.profiles import PROFILES, LraProfile
from aira_evaluator.lra.contract.splits import read_split_manifest
from aira_evaluator.lra.contract.submission import CONTRACTS, ModuleContract

_PARTS = "aira_evaluator.lra.agent.baselines.parts"
_IMPORTS = "import jax\nimport jax.numpy as jnp\nfrom flax import linen as nn\n"
_CLASSES = {
    "self_attention": "SelfAttention",
    "linear_attention": "LinearAttention",
    "gated_recurrence": "GatedRecurrence",
    "cross_covariance": "CrossCovariance",
    "local_global": "LocalGlobal",
    "gated_convolution": "GatedConvolution",
}
_ALSO = {"cross_covariance": ("depthwise",), "gated_convolution": ("depthwise", "linear_attention")}


def compose(genome: Genome, contract: ModuleContract, profile: LraProfile, *, configurable: bool) -> str:
    """Return the source of a `model.py`.

    Args:
        genome: what to build.
        contract: of the task; decides the class.
        profile: of the task; decides what factors mean.
        configurable: whether to write the hyperparameters as constants. Elsewhere factors are refused.

    Raises:
        ValueError: the genome has factors, and the task's hyperparameters are fixed.
    """
    if genome.factors and not configurable:
        raise ValueError("the hyperparameters of this task are fixed, but the genome has factors")
    needed = [part for mixer in genome.mixers for part in (*_ALSO.get(mixer, ()), mixer)]
    classes = ", ".join(_CLASSES[mixer] for mixer in genome.mixers)
    constants = [
        "# Mixers of the layers, from the first on; begun again where there are more layers.",
        f"MIXERS = ({classes},)",
        *(f'{name.upper()} = "{getattr(genome, name)}"' for name in CHOICES),
    ]
    head = "classifier" if contract.documents == 1 else "embedder"
    pieces = [
        f'"""Composed of: {", ".join(dict.fromkeys(genome.mixers))}."""\n\n{_IMPORTS}',
        *([_hyperparameter_lines(genome, profile)] if configurable else []),
        *(_body(part) for part in dict.fromkeys(needed)),
        "\n".join(constants) + "\n",
        _body("trunk"),
        _body(head),
    ]
    return "\n\n".join(pieces)


def model_source(genome: Genome, data: Path) -> str:
    """Return the `model.py` of a genome for the task and profile whose train split is in `data`.

    Raises:
        DataError: there is no split to read the task from.
        ValueError: the genome has factors, and the task's hyperparameters are fixed.
    """
    manifest = read_split_manifest(data / "train")
    profile = PROFILES[manifest.profile, manifest.task]
    return compose(genome, CONTRACTS[manifest.task], profile, configurable=manifest.configurable)


def write_model(plain: Mapping[str, Any], data: Path = Path("data"), output: Path = Path(MODULE_FILE)) -> None:
    """Write the `model.py` of a genome given as plain data.

    Raises:
        DataError: there is no split to read the task from.
        ValueError: the genome has an unknown key or value, or factors where hyperparameters are fixed.
    """
    output.write_text(model_source(read_genome(plain), data), encoding="ascii")


def _hyperparameter_lines(genome: Genome, profile: LraProfile) -> str:
    chosen = genome.hyperparameters(profile)
    fields = [constant for constant in CONSTANTS if constant.field != "random_seed"]
    return "".join(f"{constant.spellings[0]} = {getattr(chosen, constant.field)!r}\n" for constant in fields)


def _body(part: str) -> str:
    """A part's source without its docstring and imports."""
    source = (files(_PARTS) / f"{part}.py").read_text(encoding="ascii")
    first = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return "".join(source.splitlines(keepends=True)[first.lineno - 1 :])
