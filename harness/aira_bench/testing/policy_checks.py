"""What holds for every `Policy`, tried on searches played with random results.

Not covered: whether the policy searches well.
"""

import math
import random
from collections.abc import Iterator, Sequence

from aira_bench.record.node import Journal, Node, StepClass, known_to_search
from aira_bench.scaffolds.policy import (
    Action,
    Crossover,
    Debug,
    Draft,
    Improve,
    Policy,
    Proposing,
    Stop,
    fault_of_action,
)
from aira_bench.testing.checks import Check, require

Result = tuple[StepClass, float | None]
"""What becomes of a step: its class, and its fitness where it is valid."""
BUG: Result = ("buggy", None)
LOST: Result = ("infra_error", None)
"""Infrastructure took it."""
_FITNESSES = (None, 0.0, 0.5, 0.5, 1.0, -2.0, 1e300, math.inf, -math.inf, math.nan)
_RESULTS: tuple[Result, ...] = (
    *(("valid", fitness) for fitness in _FITNESSES),
    BUG, LOST, ("timeout", None), ("out_of_memory", None), ("invalid_submission", None), ("rule_violation", None),
)  # fmt: skip
_PLAYS, _STEPS = 40, 30


def node_after(action: Proposing, step: int, result: Result) -> Node:
    """Return the node of a step that did as it was told and ended in `result`."""
    step_class, fitness = result
    return Node(step, action.operator, action.parents, step_class, "", fitness, None, "0" * 64, None)


def play_policy(policy: Policy, results: Sequence[Result], seed: int = 0) -> list[Node]:
    """Let a policy act on prescribed results until they run out or it stops."""
    nodes: list[Node] = []
    for step, result in enumerate(results, start=1):
        action = policy.next(known_to_search(nodes), generator(seed, step))
        if isinstance(action, Stop):
            break
        nodes.append(node_after(action, step, result))
    return nodes


def generator(seed: int, step: int) -> random.Random:
    """Return the randomness of one step of a played search."""
    return random.Random(f"{seed}/{step}")


def _situations(policy: Policy) -> Iterator[tuple[Journal, Action, int, int]]:
    """Journals that a policy's own actions led to, each with the action after it, the play and the step."""
    for seed in range(_PLAYS):
        draw, nodes = random.Random(seed), list[Node]()
        for step in range(1, _STEPS + 1):
            journal = known_to_search(nodes)
            action = policy.next(journal, generator(seed, step))
            fault = fault_of_action(action, journal)
            require(not fault, f"an action on steps of the journal, but {fault}", action)
            yield journal, action, seed, step
            if isinstance(action, Stop):
                break
            nodes.append(node_after(action, step, draw.choice(_RESULTS)))


def _gives_actions(policy: Policy) -> None:
    for _ in _situations(policy):
        pass


def _begins(policy: Policy) -> None:
    action = policy.next((), random.Random(0))
    require(isinstance(action, Draft | Stop), "a Draft or a Stop where nothing has happened yet", action)


def _parents(policy: Policy) -> None:
    for journal, action, _, _ in _situations(policy):
        nodes = {node.step: node for node in journal}
        parents = [] if isinstance(action, Stop) else [nodes[step] for step in action.parents]
        if isinstance(action, Improve | Crossover):
            require(all(node.is_valid for node in parents), "valid parents", (action, parents))
        if isinstance(action, Debug):
            require(all(node.is_buggy for node in parents), "a failed parent", (action, parents))
        if isinstance(action, Crossover):
            require(len(set(action.parents)) == 2, "two different parents", action)


def _is_pure(policy: Policy) -> None:
    seen = [(journal, seed, step, action) for journal, action, seed, step in _situations(policy)]
    for journal, seed, step, action in reversed(seen):
        again = policy.next(journal, generator(seed, step))
        require(again == action, f"the same action for the same journal and generator, {action}", again)


def _uses_its_generator(policy: Policy) -> None:
    random.seed(0)
    before = random.getstate()
    _gives_actions(policy)
    require(random.getstate() == before, "no draw from the global generator", "one")


def _survives(policy: Policy) -> None:
    for result in _RESULTS:
        for node in play_policy(policy, [result] * _STEPS):
            require(node.step <= _STEPS, "a search that goes on", node)


POLICY_CHECKS: tuple[Check[Policy], ...] = (
    Check("it begins with a draft or stops", _begins),
    Check("it answers every journal with an action whose parents are steps of the journal", _gives_actions),
    Check("it improves and crosses valid steps, and debugs failed ones", _parents),
    Check("it keeps no state: the same journal and generator give the same action", _is_pure),
    Check("it draws from the generator it is given alone", _uses_its_generator),
    Check("it goes on where every step ends alike", _survives),
)
