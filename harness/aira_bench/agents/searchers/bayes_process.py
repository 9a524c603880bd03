"""One proposal of Bayesian optimization, in a process of its own: one line of JSON in, one line out.

    python -m aira_bench.agents.searchers.bayes_process < request > answer

The only module of the host's package that imports torch and BoTorch, which is why nothing of the package imports it
(docs/decisions/0007-bayes-in-its-own-process.md). A Gaussian process with an RBF kernel and the acquisition qLogNEI, as
in Composer (Acun et al., 2025, section on the search engine); the encoding is ours (`CompositionKernel`).

Not covered: what is an observation, which candidates there are, and what a run does when this fails (`bayes_problem`,
`bayes`). The same request gives the same answer on one machine; another version of torch or another processor may round
otherwise and choose otherwise.
"""

import contextlib
import json
import math
import sys
from collections.abc import Sequence

import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.transforms.outcome import Standardize
from botorch.optim.optimize import optimize_acqf_discrete, optimize_acqf_discrete_local_search
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed
from gpytorch.constraints import GreaterThan  # type: ignore[import-untyped]
from gpytorch.kernels import RBFKernel  # type: ignore[import-untyped]
from gpytorch.mlls import ExactMarginalLogLikelihood  # type: ignore[import-untyped]
from gpytorch.priors import LogNormalPrior  # type: ignore[import-untyped]
from torch import Tensor

from aira_bench.agents.searchers.bayes_problem import Codes, ProposalRequest

MONTE_CARLO_SAMPLES = 128
RESTARTS, RAW_SAMPLES = 8, 512
_LEAST_LENGTHSCALE = 0.025
_NUMBER = torch.float64


class CompositionKernel(RBFKernel):  # type: ignore[misc]
    """RBF on how much of each primitive a stack holds down to each depth.

    A stack of L layers becomes the L x S shares `count of s among layers 1..i / L`, so that moving a layer by one place
    is a small change however many layers unlike each other it leaves at equal places, where one-hot codes see nothing
    but places. The lengthscale's prior grows with the square root of L (Hvarfner et al., 2024).
    """

    def __init__(self, layers: int, symbols: int) -> None:
        prior = LogNormalPrior(math.sqrt(2) + math.log(layers) / 2, math.sqrt(3))
        constraint = GreaterThan(_LEAST_LENGTHSCALE, transform=None, initial_value=prior.mode)
        super().__init__(lengthscale_prior=prior, lengthscale_constraint=constraint)
        self.layers, self.symbols = layers, symbols

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object) -> Tensor:
        """Covariances of stacks given as codes, `... x n x L`."""
        covariance: Tensor = super().forward(self._shares(x1), self._shares(x2), diag=diag, **params)
        return covariance

    def _shares(self, codes: Tensor) -> Tensor:
        one_hot = codes.unsqueeze(-1) == torch.arange(self.symbols, device=codes.device)
        counts = one_hot.to(codes.dtype).cumsum(-2)  # ... x n x L x S
        return counts.flatten(-2) / (self.layers * math.sqrt(2))  # each difference is counted for two symbols


def propose(request: ProposalRequest) -> Codes:
    """Return the architecture of greatest acquisition among those allowed; draws depend on the request's seed alone."""
    torch.set_num_threads(1)
    with manual_seed(request.seed):
        model = fit_surrogate(request.observed, request.values, request.symbols)
        acquisition = qLogNoisyExpectedImprovement(
            model,
            X_baseline=_tensor(request.observed),
            sampler=SobolQMCNormalSampler(torch.Size([MONTE_CARLO_SAMPLES]), seed=request.seed),
            prune_baseline=True,
        )
        chosen = _maximize(acquisition, request)
    return "".join(str(int(code)) for code in chosen.squeeze(0).tolist())


def fit_surrogate(observed: Sequence[Codes], values: Sequence[float], symbols: int) -> SingleTaskGP:
    """Return a Gaussian process of inferred noise, lengthscale and noise at their posterior's mode; values: higher is
    better.

    Values are standardized and the kernel has no scale of its own, which is BoTorch's default too.
    """
    model = SingleTaskGP(
        _tensor(observed),
        torch.tensor(values, dtype=_NUMBER).unsqueeze(-1),
        covar_module=CompositionKernel(len(observed[0]), symbols),
        outcome_transform=Standardize(m=1),
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def _maximize(acquisition: qLogNoisyExpectedImprovement, request: ProposalRequest) -> Tensor:
    avoid = _tensor(request.observed)
    with torch.no_grad():
        if request.candidates is not None:
            return optimize_acqf_discrete(acquisition, 1, _tensor(request.candidates), X_avoid=avoid)[0]
        choices = [torch.arange(request.symbols, dtype=_NUMBER)] * len(request.observed[0])
        return optimize_acqf_discrete_local_search(
            acquisition, choices, 1, num_restarts=RESTARTS, raw_samples=RAW_SAMPLES, X_avoid=avoid
        )[0]


def _tensor(codes: Sequence[Codes]) -> Tensor:
    return torch.tensor([[int(code) for code in row] for row in codes], dtype=_NUMBER)


def main() -> None:
    """Answer the request on standard input; whatever libraries print goes to standard error."""
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        chosen = propose(ProposalRequest.from_json(sys.stdin.readline()))
    answer.write(json.dumps({"chosen": chosen}) + "\n")


if __name__ == "__main__":
    main()
