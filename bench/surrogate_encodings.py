"""Which encoding of architectures lets a Gaussian process predict the scores of unseen ones?

    python bench/surrogate_encodings.py --table bench/tables/mad_2p_cpu
    python bench/surrogate_encodings.py --table bench/tables/mad_2p_cpu --best

Fits the surrogate of `bayes` and three others on random rows of the table and predicts the rest: the validation score
of each row's first training, since a search sees one. Printed: means over the splits of Spearman's correlation and of
the log density of a held-out score (in units of the training rows' standard deviation). With --best instead: what the
surrogate, fitted on all rows but the two of best such score, says of these two.

Not covered: how well a search does with each; `bench/searchers.py` compares searchers.
"""

import argparse
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.transforms.outcome import Standardize
from botorch.utils.sampling import manual_seed
from gpytorch.kernels import Kernel, RBFKernel, ScaleKernel  # type: ignore[import-untyped]
from gpytorch.mlls import ExactMarginalLogLikelihood  # type: ignore[import-untyped]
from gpytorch.priors import GammaPrior, LogNormalPrior  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from aira_bench.agents.searchers.bayes_process import CompositionKernel, fit_surrogate
from searchers import Table

SPLITS, SPLIT_SEED, TRAINED_ON = 12, 1606, (10, 20, 50)


def kernels(layers: int) -> dict[str, Callable[[], Kernel]]:
    """With two primitives, a stack's codes are its one-hot code but for a factor that the lengthscale takes in."""
    scale = math.sqrt(2) + math.log(layers) / 2

    def one_hot(lengthscales: int | None) -> Kernel:
        return RBFKernel(ard_num_dims=lengthscales, lengthscale_prior=LogNormalPrior(scale, math.sqrt(3)))

    return {
        "composition by depth, RBF (bayes)": lambda: CompositionKernel(layers, 2),
        "one-hot, RBF": lambda: one_hot(None),
        "one-hot, RBF, a lengthscale a layer": lambda: one_hot(layers),
        "Hamming, a lengthscale a layer": lambda: ScaleKernel(
            CategoricalKernel(ard_num_dims=layers, lengthscale_prior=GammaPrior(3.0, 6.0)),
            outputscale_prior=GammaPrior(2.0, 0.15),
        ),
    }


def predict(kernel: Kernel, codes: torch.Tensor, values: torch.Tensor, trained: int) -> tuple[float, float]:
    """Spearman's correlation and mean log density of the rows after the first `trained`."""
    model = SingleTaskGP(codes[:trained], values[:trained], covar_module=kernel, outcome_transform=Standardize(m=1))
    with manual_seed(SPLIT_SEED):  # a fit that fails is tried again from drawn hyperparameters
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    truth = values[trained:].squeeze(-1)
    with torch.no_grad():
        posterior = model.posterior(codes[trained:], observation_noise=True)
        mean, variance = posterior.mean.squeeze(-1), posterior.variance.squeeze(-1)
        density = (
            -0.5 * ((truth - mean) ** 2 / variance + (2 * math.pi * variance).log()) + values[:trained].std().log()
        )
    return float(spearmanr(mean.numpy(), truth.numpy()).statistic), float(density.mean())


def without_the_best(codes: torch.Tensor, values: torch.Tensor) -> None:
    """Print prediction, score and predicted rank of the two best rows under a fit on the others."""
    order = values.squeeze(-1).argsort(descending=True)
    codes, values = codes[order], values[order]
    others = ["".join(str(int(code)) for code in row) for row in codes[2:].tolist()]
    model = fit_surrogate(others, values[2:, 0].tolist(), 2)
    with torch.no_grad():
        posterior = model.posterior(codes)
        mean, deviation = posterior.mean.squeeze(-1), posterior.variance.sqrt().squeeze(-1)
    noise = float(model.likelihood.noise.sqrt() * values[2:].std())
    for row in range(2):
        print(
            f"scored {values[row, 0]:.4f}, predicted {mean[row]:.4f} +- {deviation[row]:.4f}, "
            f"rank {1 + int((mean > mean[row]).sum())} of {len(codes)}; noise of a score {noise:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--best", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="botorch")
    table = Table.load(options.table)
    rows = table.rows
    codes = torch.tensor(
        [[table.primitives.index(symbol) for symbol in row.architecture] for row in rows], dtype=torch.float64
    )
    values = torch.tensor([[row.validation[0]] for row in rows], dtype=torch.float64)
    if options.best:
        without_the_best(codes, values)
        return
    print(f"{len(rows)} rows, {SPLITS} splits\n")
    print("| encoding and kernel | " + " | ".join(f"{n} rows" for n in TRAINED_ON) + " |")
    print("|---" * (1 + len(TRAINED_ON)) + "|")
    for name, make in kernels(codes.shape[1]).items():
        cells = []
        for trained in TRAINED_ON:
            rng = np.random.default_rng(SPLIT_SEED)
            orders = [torch.from_numpy(rng.permutation(len(rows))) for _ in range(SPLITS)]
            scores = np.mean([predict(make(), codes[order], values[order], trained) for order in orders], axis=0)
            cells.append(f"{scores[0]:.2f}, {scores[1]:+.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
