"""What separates containers of untrusted code from those before and beside them, in one word that records carry.

Containers share the machine's kernel, and what a kernel remembers of one can be read by another (SECURITY.md). From
best to worst: *own kernel*, a runtime that brings one; *own trees*, file systems mounted for one container alone;
*dropped caches*, shared file systems whose remembered names are freed between containers; *shared*, nothing of these.

Not covered: the walls every container has alike (`hardening`).
"""

from collections.abc import Iterable

from aira_bench.sandbox.sandbox import Isolation, IsolationWord, Role

BEST_FIRST: tuple[IsolationWord, ...] = ("own kernel", "own trees", "dropped caches", "shared")
UNTRUSTED: tuple[Role, ...] = ("agent", "fit", "predict")
"""Roles whose containers run an agent's code."""
_OWN_KERNEL = ("runsc", "kata", "io.containerd.runsc", "io.containerd.kata")


def weakest(found: Iterable[Isolation]) -> Isolation:
    """Return what a whole run may claim."""
    return max(found, key=lambda isolation: BEST_FIRST.index(isolation.word))


def is_weaker(word: IsolationWord, than: IsolationWord) -> bool:
    """Whether `word` separates less."""
    return BEST_FIRST.index(word) > BEST_FIRST.index(than)


def brings_kernel(runtime: str) -> bool:
    """Whether a container runtime, by its name, gives each container a kernel of its own: gVisor or Kata."""
    return runtime.startswith(_OWN_KERNEL)
