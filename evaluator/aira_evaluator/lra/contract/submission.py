"""What a submitted `model.py` must be, as data: class names, constructor arguments, shapes and caps.

A `model.py` defines one `flax.linen` module. For Text and ListOps it maps a batch of token sequences to logits. For
Retrieval it maps a batch of *single* documents to embeddings: the evaluator applies it to either side of the pairs in
a call of its own, with the same parameters, and owns the head on top, so the two documents of a pair never meet inside
submitted code. The docstring of `ModuleContract` has the rules; the `project_description.md` files tell them to agents.

Not covered: hyperparameters (`hyperparameters`), sizes (`profiles`), tracing and training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aira_evaluator.lra.contract.hyperparameters import Hyperparameters

TaskName = Literal["text", "listops", "retrieval"]

MAX_SOURCE_BYTES = 128 * 1024
PADDING_ID = 0
"""Token id that fills a sequence on the right; never a token of its own."""
DROPOUT_RATE = 0.1
"""Passed to every module (the public base configurations'); Table 12 does not vary it."""
MAX_PARAMETERS = 64_000_000
"""Elements of the `params` collection. Table 13's largest Transformer (12 layers of 512 and 2,048) has 39 million."""


@dataclass(frozen=True)
class ModuleContract:
    """The module of one task.

    Rules, beyond the fields below:

    - `__call__(self, inputs, *, train)`: `inputs` is int32 (B, L) with `0 <= id < vocab_size`; ids after the end of a
      sequence are `PADDING_ID`. A sequence holds at least one token. `train` is a Python bool. The result is float32
      of shape (B, `output_width`).
    - Each row of the result depends on the same row of `inputs` alone, and on nothing behind its last token: neither
      the other examples of the batch nor the amount of padding may change an answer. Pooling is the module's business.
    - Every array of the module is a float32 leaf of the collection `params`. No other collection is carried: no batch
      statistics, no caches.
    - The one random stream is `dropout` (`nn.Dropout`, or `self.make_rng("dropout")`), present when `train` is true.
    - Shapes are static: B and L are known when the module is traced. It is traced for the lengths trained and scored,
      and at one, two and four times that length to measure how it grows; `max_len` then equals L.
    - It is traced, not called: no host callbacks, no Python side effects that matter, no 64-bit types.
    """

    task: TaskName
    class_name: str
    vocab_size: int
    """Number of token ids, padding included."""
    num_classes: int
    documents: Literal[1, 2]
    """How many sequences one example has: a pair in Retrieval."""

    def constructor_arguments(self, hyperparameters: Hyperparameters, *, max_len: int) -> dict[str, int | float]:
        """Keyword arguments the class is constructed with; `num_classes` only where the module gives logits."""
        arguments: dict[str, int | float] = {
            "vocab_size": self.vocab_size,
            "emb_dim": hyperparameters.emb_dim,
            "qkv_dim": hyperparameters.qkv_dim,
            "mlp_dim": hyperparameters.mlp_dim,
            "num_layers": hyperparameters.num_layers,
            "num_heads": hyperparameters.num_heads,
            "max_len": max_len,
            "dropout_rate": DROPOUT_RATE,
        }
        if self.documents == 1:
            arguments["num_classes"] = self.num_classes
        return arguments

    def output_width(self, hyperparameters: Hyperparameters) -> int:
        """Columns of the module's result: classes, or the width of a document's embedding."""
        return self.num_classes if self.documents == 1 else hyperparameters.emb_dim


CONTRACTS: Mapping[TaskName, ModuleContract] = {
    # Bytes are ids 1 to 256.
    "text": ModuleContract("text", "CustomEncoder", vocab_size=257, num_classes=2, documents=1),
    # Digits, four operators, one closing bracket. The public pipeline has one more id, for words out of vocabulary,
    # which never occur.
    "listops": ModuleContract("listops", "CustomEncoder", vocab_size=16, num_classes=10, documents=1),
    # The published class name; it encodes one document, and is applied to both.
    "retrieval": ModuleContract("retrieval", "CustomDualEncoder", vocab_size=257, num_classes=2, documents=2),
}
"""The contract of every task. The head on top of two embeddings `e1`, `e2` of Retrieval is the evaluator's:
Dense(mlp_dim)-relu-Dense(mlp_dim // 2)-relu-Dense(2) over `[e1, e2, e1 * e2, e1 - e2]`."""
