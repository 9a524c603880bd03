"""Runs as event files of TensorBoard, written by the tensorboard package's own record writer: a folder a seed.

At each step of the search: its search score, the best so far, seconds by phase, tokens and money spent so far. Where
hidden scores may leave, also the test score, and the training curve of each evaluation in a folder of its own. Times
are the journals', so the same run makes the same bytes with one version of tensorboard.

Needs the extra `aira-bench[tensorboard]`. Not covered: text and code; other formats have them.
"""

import io
from collections.abc import Iterator, Mapping

from aira_bench.export.steps import ExportedRun, ExportedSeed, epoch_s, node_scalars, scores_of

EVENTS = "events.out.tfevents.0.aira-bench"
"""TensorBoard takes every file whose name has `tfevents` in it."""
Scalars = tuple[int, float, Mapping[str, float]]
"""Step, time in seconds of the epoch, and values by tag."""


def event_files(run: ExportedRun) -> Iterator[tuple[str, bytes]]:
    """Yield the path of each event file below the run's folder, and its content.

    Args:
        run: what is told; a seed without any step has no file.
    """
    began_s = epoch_s(run.manifest.created, 0.0)
    for seed in run.seeds:
        if seed.steps:
            yield f"seed-{seed.seed}/{EVENTS}", _events(began_s, _search(seed, began_s))
        for step in seed.steps:
            score = step.hidden.score if step.hidden is not None else None
            if score is not None and score.series:
                at_s = epoch_s(step.line.at, began_s)
                curve: list[Scalars] = [(point.step, at_s, {"training/loss": point.loss}) for point in score.series]
                yield f"seed-{seed.seed}-step-{step.node.step:04d}/{EVENTS}", _events(began_s, curve)


def _search(seed: ExportedSeed, began_s: float) -> Iterator[Scalars]:
    spent: dict[str, float | None] = {"input_tokens": 0.0, "output_tokens": 0.0, "cost_usd": 0.0}
    for step in seed.steps:
        use = step.node.model_use
        for name, value in (
            ("input_tokens", use.input_tokens),
            ("output_tokens", use.output_tokens),
            ("cost_usd", use.cost_usd),
        ):
            before = spent[name]
            spent[name] = None if before is None or value is None else before + value  # unknown from here on
        known = {f"spent/{name}": value for name, value in spent.items() if value is not None}
        yield (
            step.node.step,
            epoch_s(step.line.at, began_s),
            node_scalars(step.node, step.best) | scores_of(step) | known,
        )


def _events(began_s: float, scalars: "Iterator[Scalars] | list[Scalars]") -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    stream = _Kept()
    writer = RecordWriter(stream)
    writer.write(Event(wall_time=began_s, file_version="brain.Event:2").SerializeToString(deterministic=True))
    for step, at_s, values in scalars:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        event = Event(wall_time=at_s, step=step, summary=summary)
        writer.write(event.SerializeToString(deterministic=True))
    writer.close()
    return stream.getvalue()


class _Kept(io.BytesIO):
    """A stream whose content stays when its writer closes it."""

    def close(self) -> None:
        """Keep what was written."""
