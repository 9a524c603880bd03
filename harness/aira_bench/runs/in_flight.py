"""Model calls of steps that were in flight when a process ended: used again, or kept and asked anew.

Not covered: what else such steps left, which `phases.propose` sets aside.
"""

from pathlib import Path

from aira_bench.errors import RunStateError
from aira_bench.keys import KeyRing
from aira_bench.llm.recording import read_exchange
from aira_bench.record.attempts import keep_attempt
from aira_bench.record.run_record import RunRecord
from aira_bench.record.seen_chains import Witness, journal_name


def set_aside_unvouched_calls(record: RunRecord, ring: KeyRing, *, ask_anew: bool = False) -> None:
    """Keep model calls of steps in flight, which no line vouches for, from being taken for answers.

    Where the run was recorded they are what this machine wrote, and are not asked for again; elsewhere they may be
    anybody's, and are kept as those of an attempt before, while the step asks anew. So are those of which one cannot be
    read, and all with `ask_anew`: prompts may have changed in the middle of the step.
    """
    for seed in record.seeds:
        calls, witness = seed.folder.calls(len(seed.nodes) + 1), Witness(ring.seen)
        ours = bool(witness.recall(record.manifest.run_id, journal_name(seed.seed)).lines)
        if calls.is_dir() and (ask_anew or not ours or not all(map(_is_whole, calls.glob("*/call_*.json")))):
            keep_attempt(calls)


def _is_whole(call: Path) -> bool:
    try:
        read_exchange(call)
    except RunStateError:
        return False
    return True
