"""`aira-bench images`: the container images, from where they come and to where they go, and what they cost."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aira_bench.cli.options import SUB_FORMAT, add_containers, add_json
from aira_bench.errors import UsageError
from aira_bench.images.names import DEFAULT_FLAVOUR, flavour_names

if TYPE_CHECKING:
    from aira_bench.docker_engine import DockerEngine

_NONE, _ALL = "none", "all"
_EPILOG = """examples:
  aira-bench images build
  aira-bench images build --flavour cuda-paper --skip-compiled flash-attn --skip-compiled mamba-ssm
  aira-bench images build --flavour cuda --architectures 9.0
  aira-bench images push registry.lab:5000 --flavour cuda
  aira-bench images pull registry.lab:5000 --flavour cuda
  aira-bench images save cuda.tar --flavour cuda
  aira-bench images list --json
  aira-bench images prune

What is left out with --skip-compiled stays left out on this machine, for runs, too; --skip-compiled none takes that
back. So do the devices that --architectures compiles for; --architectures all is all that the images are made for.
`push` prints the digests that `pull --digest` can ask for, `save` the one for `load --digest`; without them, a tag that
is pulled must stay what it was first, and a file is taken as it is.
Judges are in these images: take them only from people whose scores you would take.

File trees are copies of an image or a data folder that containers of untrusted code get for themselves; a run makes
them at first need. `prune` removes those of images and folders that are gone, as `build` and the start of a run do.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "images", help="build, list, send or fetch images", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Build the container images, only what changed; list what is there; send them to a registry or a "
        "file, or fetch them; or remove old file trees.",
    )  # fmt: skip
    parser.add_argument("action", choices=tuple(_ACTIONS), help="what to do")
    parser.add_argument("where", nargs="?", metavar="REGISTRY|FILE", help="of push and pull, or of save and load")
    parser.add_argument(
        "--flavour", choices=flavour_names(), default=DEFAULT_FLAVOUR, help=f"which images (default: {DEFAULT_FLAVOUR})"
    )
    parser.add_argument(
        "--skip-compiled",
        action="append",
        metavar="NAME",
        help="build without it; may be given more than once",
    )
    parser.add_argument(
        "--architectures", action="append", metavar="X.Y", default=[],
        help="compute capability to compile for, where something must be, or all; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--digest", action="append", metavar="SHA256", default=[],
        help="of pull: what the images must be, as push told; of load: what the file must be, as save told",
    )  # fmt: skip
    add_containers(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Do one of the actions and print its rows."""
    from aira_bench.cli.display import RunDisplay
    from aira_bench.cli.tables import print_rows
    from aira_bench.docker_engine import connect_engine
    from aira_bench.terminal import say_json

    act, wants_place, nothing = _ACTIONS[args.action]
    if wants_place != (args.where is not None):
        what = "needs" if wants_place else "takes no"
        raise UsageError(f"images {args.action} {what} REGISTRY or FILE.", hint="aira-bench images --help")
    for option, (actions, given) in {
        "--skip-compiled": (("build",), args.skip_compiled is not None),
        "--architectures": (("build",), bool(args.architectures)),
        "--digest": (("pull", "load"), bool(args.digest)),
    }.items():
        if given and args.action not in actions:  # whoever names a digest thinks that it was looked at
            raise UsageError(f"images {args.action} takes no {option}.", hint=f"aira-bench images {actions[0]}")
    rows = act(args, connect_engine(args.containers), RunDisplay((), 0, quiet=args.json).note)
    if args.json:
        say_json(rows)
    else:
        print_rows(rows, empty=nothing)
    return 0


_Rows = list[dict[str, Any]]
_Note = Callable[[str], None]


def _build(args: argparse.Namespace, engine: "DockerEngine", note: _Note) -> _Rows:
    from aira_bench.images.choices import skip_packages, skipped_packages
    from aira_bench.images.ensure import build_images
    from aira_bench.images.flavour import load_flavour
    from aira_bench.images.stored_trees import freed, prune_trees

    names = set(args.skip_compiled or ()) - {_NONE}
    if names:  # before anything is remembered
        known = {package.name for package in load_flavour(args.flavour).settings.compiled}
        if unknown := sorted(names - known):
            raise UsageError(
                f"Nothing compiled in the {args.flavour} images is called {unknown[0]}; there is: "
                f"{', '.join(sorted(known)) or 'nothing'}.",
                hint=f"aira-bench images build --flavour {args.flavour} --skip-compiled {_NONE}",
            )
    if args.architectures:
        _choose_architectures(args.flavour, args.architectures)
    if args.skip_compiled is not None:
        skip_packages(args.flavour, names)
    if skipped := sorted(skipped_packages(args.flavour)):
        note(f"without {', '.join(skipped)} (--skip-compiled {_NONE} takes that back)")
    rows = [asdict(built) for built in build_images(args.flavour, engine, note)]
    if told := freed(prune_trees(engine)):
        note(told)
    return rows


def _choose_architectures(flavour: str, asked: list[str]) -> None:
    from aira_bench.images.choices import choose_architectures
    from aira_bench.images.compiled import check_architectures
    from aira_bench.images.flavour import load_flavour

    packages = load_flavour(flavour).settings.compiled
    named = {each for package in packages for each in package.architectures}
    chosen = check_architectures([*(set(asked) - {_ALL}), *(named if _ALL in asked else ())])
    if not packages:
        raise UsageError(f"Nothing is compiled in the {flavour} images.", hint="--flavour cuda")
    choose_architectures(flavour, chosen)


def _prune(args: argparse.Namespace, engine: "DockerEngine", note: _Note) -> _Rows:
    from aira_bench.images.building import STAGE_LABEL
    from aira_bench.images.stored_trees import prune_trees

    engine.remove_unnamed(STAGE_LABEL)
    return [{"file trees of": trees.of, "size_mib": trees.size_mib, "removed": True} for trees in prune_trees(engine)]


def _list(args: argparse.Namespace, engine: "DockerEngine", note: _Note) -> _Rows:
    from aira_bench.images.exchange import transported
    from aira_bench.images.flavour import LABEL, load_flavour
    from aira_bench.images.stored_trees import stored_trees

    recipes = [load_flavour(name) for name in flavour_names()]
    wanted = {tag for recipe in recipes for tag in (*transported(recipe), recipe.base_tag)}
    rows: _Rows = [
        {"tag": image.tag, "size_mib": image.size_bytes / 2**20, "created": image.created.isoformat(" ", "minutes"),
         # A task's packages may lie over it.
         "current": not wanted.isdisjoint((image.tag, image.tag.rpartition("-")[0]))}
        for image in engine.list_images(LABEL)
    ]  # fmt: skip
    trees = stored_trees(engine)
    return rows + [
        {"tag": f"file trees of {each.of}", "size_mib": each.size_mib, "created": "-", "current": each.current}
        for each in trees
    ]


def _push(args: argparse.Namespace, engine: "DockerEngine", note: _Note) -> _Rows:
    from aira_bench.images.exchange import push_images

    sent = push_images(args.flavour, args.where, engine, note)
    digests = " ".join(f"--digest {each.digest}" for each in sent)
    note(f"elsewhere: aira-bench images pull {args.where} --flavour {args.flavour} {digests}")
    return [asdict(each) for each in sent]


def _pull(args: argparse.Namespace, engine: "DockerEngine", note: _Note) -> _Rows:
    from aira_bench.images.exchange import pull_images

    return [asdict(each) for each in pull_images(args.flavour, args.where, engine, note, args.digest)]


def _save(args: argparse.Namespace, engine: "DockerEngine", note: _Note) -> _Rows:
    from aira_bench.images.exchange import save_images

    path = Path(args.where)
    sha256 = save_images(args.flavour, path, engine, note)
    return [{"file": str(path), "size_mib": path.stat().st_size / 2**20, "sha256": sha256}]


def _load(args: argparse.Namespace, engine: "DockerEngine", note: _Note) -> _Rows:
    from aira_bench.images.exchange import load_images

    path = Path(args.where)
    sha256 = load_images(args.flavour, path, engine, note, args.digest)
    return [{"file": str(path), "size_mib": path.stat().st_size / 2**20, "sha256": sha256}]


_ACTIONS: dict[str, tuple[Callable[[argparse.Namespace, "DockerEngine", _Note], _Rows], bool, str]] = {
    "build": (_build, False, ""),
    "list": (_list, False, "No images are built. Try: aira-bench images build"),
    "prune": (_prune, False, "Nothing to remove."),
    "push": (_push, True, ""),
    "pull": (_pull, True, ""),
    "save": (_save, True, ""),
    "load": (_load, True, ""),
}
"""What each action does, whether it names a place, and what is said where it has no rows."""
