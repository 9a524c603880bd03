"""`aira-bench images build|list|prune`: the container images, their file trees, and what they cost."""

import argparse
from dataclasses import asdict

from aira_bench.cli.options import SUB_FORMAT, add_json
from aira_bench.images.names import DEFAULT_FLAVOUR, flavour_names

_EPILOG = """examples:
  aira-bench images build
  aira-bench images build --flavour cuda
  aira-bench images list --json
  aira-bench images prune

File trees are copies of an image or a data folder that containers of untrusted code get for themselves; a run makes
them at first need. `prune` removes those of images and folders that are gone, as `build` and the start of a run do.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "images", help="build or list images, remove old file trees", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Build the container images, only what changed, list what is there, or remove old file trees.",
    )  # fmt: skip
    parser.add_argument("action", choices=("build", "list", "prune"), help="what to do")
    parser.add_argument(
        "--flavour", choices=flavour_names(), default=DEFAULT_FLAVOUR, help=f"which images (default: {DEFAULT_FLAVOUR})"
    )
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Build the images of a flavour, list what is there, or remove file trees that nothing needs."""
    from aira_bench.cli.display import RunDisplay
    from aira_bench.cli.tables import print_rows
    from aira_bench.docker_engine import DockerEngine
    from aira_bench.images.ensure import build_images, planned_images
    from aira_bench.images.flavour import LABEL
    from aira_bench.images.stored_trees import freed, prune_trees, stored_trees
    from aira_bench.terminal import say_json

    engine = DockerEngine.connect()
    if args.action == "build":
        note = RunDisplay((), 0, quiet=args.json).note
        rows = [asdict(built) for built in build_images(args.flavour, engine, note)]
        if told := freed(prune_trees(engine)):
            note(told)
    elif args.action == "prune":
        rows = [{"file trees of": trees.of, "size_mib": trees.size_mib, "removed": True}
                for trees in prune_trees(engine)]  # fmt: skip
    else:
        wanted = {tag for flavour in flavour_names() for tag in planned_images(flavour)}
        rows = [
            {"tag": image.tag, "size_mib": image.size_bytes / 2**20, "created": image.created.isoformat(" ", "minutes"),
             # A task's packages may lie over it.
             "current": not wanted.isdisjoint((image.tag, image.tag.rpartition("-")[0]))}
            for image in engine.list_images(LABEL)
        ]  # fmt: skip
        rows += [{"tag": f"file trees of {trees.of}", "size_mib": trees.size_mib, "created": "-",
                  "current": trees.current} for trees in stored_trees(engine)]  # fmt: skip
    if args.json:
        say_json(rows)
    else:
        nothing = (
            "Nothing to remove." if args.action == "prune" else "No images are built. Try: aira-bench images build"
        )
        print_rows(rows, empty=nothing)
    return 0
