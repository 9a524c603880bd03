"""Makes a checkpoint of a training a folder for transformers, or such a folder a checkpoint again.

One request in, as JSON on the standard input; one line of JSON out (`aira_contract.exports`). Beside what
`aira_kernels.hugging_face.folder` writes, a folder has the training's `pretrain.json`, `tokens.json` and a README.md,
and what it was made of can be told from it. Exit statuses: 0 written, 2 cannot be done; the reason is one line on
standard error. Not covered: optimizer states; a checkpoint made of a folder has weights alone.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch

from aira_contract.exports import Exported, ExportRequest
from aira_contract.pretraining import CHECKPOINTS, RECORD, TOKENIZER, TOKENS
from aira_evaluator.pretrain.checkpoints import save_weights
from aira_evaluator.pretrain.trained import TrainedFolder, TrainedTokens, weights_sha256
from aira_evaluator.split_manifest import MANIFEST, DataError
from aira_kernels.hugging_face.folder import read_folder, write_folder
from aira_kernels.large import LargeLanguageModel

README = "README.md"


def export(request: ExportRequest) -> Exported:
    """Write a whole checkpoint as a folder for transformers.

    Raises:
        DataError: there is no such training or no whole checkpoint, or the new folder has something in it.
    """
    trained, out = TrainedFolder(Path(request.source)), Path(request.out)
    _require_new(out)
    data = None if request.data is None else Path(request.data)
    step, tokens = trained.newest(request.step), trained.tokens(data)
    model = trained.model(step).to(getattr(torch, request.dtype))
    file = None if tokens is None else tokens.tokenizer_file
    separator = None if tokens is None else tokens.separator
    answer = _answer(trained, step, model, tokens)
    # config.json comes last of all, so that a folder with one is whole.
    out.mkdir(parents=True, exist_ok=True)
    part = out / ".part"
    write_folder(model, part, tokenizer=file, separator=separator, length=trained.length)
    _write_record(trained, step, out)
    if tokens is not None:
        shutil.copyfile(trained.folder / TOKENS if data is None else data / MANIFEST, out / TOKENS)
    (out / README).write_text(_readme(trained, answer), encoding="utf-8")
    for path in sorted(part.iterdir(), key=lambda path: path.name == "config.json"):
        path.rename(out / path.name)
    part.rmdir()
    return answer


def export_back(request: ExportRequest) -> Exported:
    """Write a folder for transformers as a training's folder with a checkpoint of weights alone.

    Raises:
        DataError: the folder was not made of a training, its files do not fit each other, or the new one is not empty.
    """
    source, out = Path(request.source), Path(request.out)
    _require_new(out)
    trained = TrainedFolder(source)
    model, tokens, step = read_model(source), trained.tokens(), int(trained.record["steps_done"])
    if model.architecture != trained.layers:
        raise DataError(f"{source}: config.json has other layers than {RECORD}")
    out.mkdir(parents=True, exist_ok=True)
    save_weights(out / CHECKPOINTS, step, model)
    for name in (TOKENS, TOKENIZER):
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)
    _write_record(trained, step, out)
    notes = "A checkpoint of weights alone: it can be evaluated and exported, and no training goes on from it."
    answer = _answer(trained, step, model, tokens)
    return replace(answer, notes=(*answer.notes, notes))


def read_model(folder: Path) -> LargeLanguageModel:
    """Return the model of a folder for transformers.

    Raises:
        DataError: its files are not those of such a model.
    """
    try:
        return read_folder(folder)
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(str(error)) from None


def main() -> int:
    """Answer the request on the standard input."""
    try:
        request = ExportRequest.from_json(sys.stdin.read())
        answer = export_back(request) if request.back else export(request)
    except (DataError, OSError) as error:
        print((str(error).splitlines() or [type(error).__name__])[0], file=sys.stderr)
        return 2
    print(answer.to_line(), flush=True)
    return 0


def _require_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is not empty; choose another folder")


def _write_record(trained: TrainedFolder, step: int, out: Path) -> None:
    """The training's record as it was after the step, without a loss that is of another one."""
    newest = step == trained.record["steps_done"]
    changed: dict[str, object] = {"steps_done": step, "finished": step == trained.steps}
    if not newest:
        changed["validation_loss"] = None
    (out / RECORD).write_text(json.dumps(dict(trained.record) | changed, indent=2) + "\n", encoding="utf-8")


def _answer(trained: TrainedFolder, step: int, model: LargeLanguageModel, tokens: TrainedTokens | None) -> Exported:
    return Exported(
        pattern=trained.pattern,
        scale=trained.scale,
        step=step,
        steps=trained.steps,
        parameters=sum(each.numel() for each in model.parameters()),
        weights_sha256=weights_sha256(model),
        tokenizer=tokens.tokenizer if tokens is not None and tokens.tokenizer_file is not None else None,
        notes=trained.notes(tokens, step),
    )


def _readme(trained: TrainedFolder, answer: Exported) -> str:
    notes = "".join(f"- {note}\n" for note in answer.notes)
    return (
        f"# {trained.pattern} at {trained.scale}\n\n"
        f"Step {answer.step:,} of {answer.steps:,} of recipe {trained.recipe}; {answer.parameters:,} parameters; "
        f"weights {answer.weights_sha256}.\n"
        f"Tokenizer: {answer.tokenizer or 'none'}. What was trained, and on what: {RECORD}, {TOKENS}.\n\n"
        f"`AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` runs modeling_aira.py.\n\n{notes}"
    )


if __name__ == "__main__":
    sys.exit(main())
