"""A training loop as it is usually written: what `bench/evaluator_speed.py` compares the evaluator's with.

The models, data, batch size, rate and number of epochs are the evaluator's own. The loop around them is the customary
one: a `Dataset` and a `DataLoader` that stacks examples and may have workers, `torch.optim.AdamW` with its defaults,
`.to(device)` for each batch, `loss.item()` logged at each step, and accuracy on the held-out data after each epoch.
Nothing in it is slow on purpose. Not covered: frameworks on top of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from aira_evaluator.compose.mad.models import build_model
from aira_evaluator.compose.mad.profiles import MadProfile
from aira_evaluator.compose.training.examples import IGNORED, Corpus, Examples

EVALUATION_BATCH = 256


class ExampleDataset(Dataset[tuple[Tensor, Tensor]]):
    """One example an item, as int64 ids and labels."""

    def __init__(self, examples: Examples, *, scored: bool) -> None:
        labels = examples.scored if scored else examples.targets
        self.inputs = torch.from_numpy(examples.inputs.astype(np.int64))
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.labels[index]


@dataclass
class EagerLoop:
    """Trains and scores a candidate on every task of a profile."""

    profile: MadProfile
    device: torch.device
    workers: int = 0
    evaluate_epochs: bool = True
    """Measure held-out accuracy after each epoch, not only after the last."""
    log: list[float] = field(default_factory=list)

    def run(self, architecture: Sequence[str], train: Corpus, held_out: Corpus, seed: int) -> dict[str, float]:
        """Held-out accuracy of each task after its last epoch."""
        return {name: self._task(architecture, name, train[name], held_out[name], seed) for name in self.profile.tasks}

    def _task(self, architecture: Sequence[str], name: str, train: Examples, held_out: Examples, seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        model = build_model(architecture, self.profile.tasks[name], self.profile, generator=generator).to(self.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.profile.learning_rate, weight_decay=0.0)
        training = DataLoader(
            ExampleDataset(train, scored=False), batch_size=self.profile.batch_size, shuffle=True,
            num_workers=self.workers, generator=generator,
        )  # fmt: skip
        holding = DataLoader(
            ExampleDataset(held_out, scored=True), batch_size=EVALUATION_BATCH, num_workers=self.workers
        )
        accuracy = 0.0
        for epoch in range(self.profile.epochs):
            model.train()
            for inputs, targets in training:
                optimizer.zero_grad()
                logits = model(inputs.to(self.device))
                loss = functional.cross_entropy(
                    logits.flatten(0, 1), targets.to(self.device).flatten(), ignore_index=IGNORED
                )
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                self.log.append(loss.item())
            if self.evaluate_epochs or epoch == self.profile.epochs - 1:
                accuracy = self._accuracy(model, holding)
        return accuracy

    def _accuracy(self, model: nn.Module, holding: DataLoader[tuple[Tensor, Tensor]]) -> float:
        model.eval()
        right = counted = 0
        with torch.no_grad():
            for inputs, labels in holding:
                due = labels.to(self.device)
                guesses = model(inputs.to(self.device)).argmax(dim=-1)
                right += int(((guesses == due) & (due != IGNORED)).sum().item())
                counted += int((due != IGNORED).sum().item())
        return right / counted
