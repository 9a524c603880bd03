"""A distribution of somebody else's, of all five kinds: what a third party writes instead of a fork.

`install_outsider` puts it into a folder as pip would; nothing of it lies in this repository but these texts.
"""

from pathlib import Path

from outside import install

HERE = Path(__file__).parent / "folders"
AGENT = '''
"""An agent that submits one solution for parity, and says in its plan what it was asked for."""

from aira_bench.protocols import Proposal, UnlookingAgent

CODE = {code!r}


class Solver(UnlookingAgent):
    name = "parity-solver"
    default_scaffold = "outsider-twice"

    def propose(self, brief, situation):
        return Proposal(CODE, f"{{situation.action.operator}} for {{brief.task}}")
'''
SCAFFOLD = '''
"""Drafts, improves that once, and stops."""

from aira_bench.protocols import Draft, Improve, Stop


class Twice:
    def next(self, journal, rng):
        if not journal:
            return Draft()
        return Improve((journal[0].step,)) if len(journal) == 1 else Stop()
'''
PROVIDER = '''
"""A provider that answers from this process: no server, no key."""

import json

from aira_bench.protocols import ProviderAnswer, Usage

CODE = {code!r}


class Session:
    def __init__(self, endpoint):
        self.endpoint = endpoint

    def ask(self, request, *, timeout_s):
        text = f"It counts ones.\\n\\n```python\\n{{CODE}}\\n```"
        if request.schema is not None:
            text = json.dumps({{"is_bug": False, "summary": "It printed nothing.", "metric": None}})
        return ProviderAnswer(text, "stop", self.endpoint.card.model, Usage(100, 50), "request-1")

    def close(self):
        pass
'''
EVALUATOR = '''
"""Scores as the judge of CSV files does, and remarks on it."""

from dataclasses import replace

from aira_bench.protocols import Scored


class Remarking:
    def __init__(self, usual):
        self.judge = usual()

    def evaluate(self, submission, *, deadline, destination):
        verdict = self.judge.evaluate(submission, deadline=deadline, destination=destination)
        return replace(verdict, remarks=("seen by the outsider",)) if isinstance(verdict, Scored) else verdict

    def close(self):
        self.judge.close()
'''
TASK = '''
"""Where this distribution's task folder lies."""

from pathlib import Path


def parity():
    return Path(__file__).parent / "ParityClassificationAccuracy"
'''
CARD = """
name = "echo"
title = "A model in this process"
provider = "outsider-echo"
model = "echo-1"
base_url = "http://localhost:9"
max_output_tokens = 4096
"""


def install_outsider(site: Path, version: str = "1.0") -> Path:
    """Install it into `site`; returns its agent card."""
    code = (HERE / "parity_solution.py").read_text()
    folder = HERE / "ParityClassificationAccuracy"
    modules = {
        "outsider/__init__.py": "",
        "outsider/agent.py": AGENT.format(code=code),
        "outsider/scaffold.py": SCAFFOLD,
        "outsider/provider.py": PROVIDER.format(code=code),
        "outsider/evaluator.py": EVALUATOR,
        "outsider/task.py": TASK,
        "outsider/echo.toml": CARD,
    }
    modules |= {f"outsider/{folder.name}/{path.name}": path.read_text() for path in folder.iterdir() if path.is_file()}
    points = {
        "agents": {"outsider-solver": "outsider.agent:Solver"},
        "scaffolds": {"outsider-twice": "outsider.scaffold:Twice"},
        "providers": {"outsider-echo": "outsider.provider:Session"},
        "evaluators": {"outsider-remarking": "outsider.evaluator:Remarking"},
        "tasks": {"outsider-parity": "outsider.task:parity"},
    }
    install(site, "aira-outsider", modules=modules, points=points, version=version)
    return site / "outsider" / "echo.toml"
