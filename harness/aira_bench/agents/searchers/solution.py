"""Writes the `solution.py` of searchers, and reads back what one submits.

It is an ordinary program, which runs in an agent container like anybody's. What it submits stands in it as a literal.
Under `--fitness claimed` it also scores that on the public data, with the evaluator's own code, to have a number to
claim.

Not covered: what is submitted.
"""

import ast
from dataclasses import dataclass

from aira_bench.agent_code.syntax import UnreadableCode, assigned_name, parse
from aira_bench.agents.agent import Brief, Proposal
from aira_bench.record.node import Change


@dataclass(frozen=True)
class SolutionForm:
    """How the solutions that submit one kind of artifact look."""

    what: str
    """The artifact in words."""
    name: str
    """What the literal is assigned to."""
    program: str
    """Submits `{literal}`, as `{artifact}`."""
    validation: str
    """Follows it where the solution is to claim a number."""

    def write(self, brief: Brief, literal: str, plan: str, changes: tuple[Change, ...] = ()) -> Proposal:
        """Return the solution that submits what the literal spells."""
        code = f'"""Submits one {self.what}. {plan}"""\n\n'
        code += self.program.format(literal=literal, artifact=brief.artifact.name)
        if brief.fitness == "claimed":
            code += self.validation.format(artifact=brief.artifact.name)
        return Proposal(code, plan, changes=changes)

    def read(self, code: str) -> object:
        """Return what a solution of this form submits; None for any other code."""
        try:
            body = parse(code).body
        except UnreadableCode:
            return None
        for statement in body:
            if isinstance(statement, ast.Assign) and assigned_name(statement) == self.name:
                try:
                    return ast.literal_eval(statement.value)
                except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                    return None
        return None
