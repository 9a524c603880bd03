"""`aira-bench images build|list`: the container images and what they cost."""

import argparse
from dataclasses import asdict

from aira_bench.cli.options import SUB_FORMAT, add_json

_EPILOG = """examples:
  aira-bench images build
  aira-bench images build --flavour cuda
  aira-bench images list --json
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "images", help="build or list images", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Build the container images, only what changed, or list what is there.",
    )  # fmt: skip
    parser.add_argument("action", choices=("build", "list"), help="build what is missing, or list what is there")
    flavours = ("cpu", "cuda", "cuda-jax")  # of `images.flavour`, whose import would slow every --help down
    parser.add_argument("--flavour", choices=flavours, default="cpu", help="which images (default: cpu)")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Build or list."""
    from aira_bench.cli.display import RunDisplay
    from aira_bench.cli.tables import print_rows
    from aira_bench.docker_engine import DockerEngine
    from aira_bench.images.ensure import build_images, planned_images
    from aira_bench.images.flavour import FLAVOURS, LABEL
    from aira_bench.terminal import say_json

    engine = DockerEngine.connect()
    if args.action == "build":
        note = RunDisplay((), 0, quiet=args.json).note
        rows = [asdict(built) for built in build_images(args.flavour, engine, note)]
    else:
        wanted = {tag for flavour in FLAVOURS for tag in planned_images(flavour)}
        rows = [
            {"tag": image.tag, "size_mib": image.size_bytes / 2**20, "created": image.created.isoformat(" ", "minutes"),
             "current": image.tag in wanted}
            for image in engine.list_images(LABEL)
        ]  # fmt: skip
    if args.json:
        say_json(rows)
    else:
        print_rows(rows, empty="No images are built. Try: aira-bench images build")
    return 0
