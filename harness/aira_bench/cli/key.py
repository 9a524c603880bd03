"""`aira-bench key`: the key that signs this machine's records, and the keys it trusts."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json

if TYPE_CHECKING:
    from aira_bench.keys import KeyFolder

_EPILOG = """examples:
  aira-bench key
  aira-bench key export > my-machine.pub
  aira-bench key trust ed25519:8d2f...
  aira-bench key trust "$(cat their-machine.pub)"
  aira-bench key hidden hidden.key

Every run is signed. Boards say of each row whether this machine signed it, a machine whose key is trusted here, another
one, or nobody. `resume` goes on with runs of trusted keys alone. Keep a copy of the key's file: without it, runs
recorded so far count as signed by an unknown key.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "key", help="show the key that signs records; trust others", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Show, export, and trust the keys that sign records of runs.",
    )  # fmt: skip
    parser.add_argument(
        "action", nargs="?", choices=("show", "export", "trust", "forget", "hidden"), default="show",
        help="show keys and where they lie; export this machine's public key; trust a public key, or forget it again; "
        "make a key for --hidden-key",
    )  # fmt: skip
    parser.add_argument(
        "public", nargs="?", metavar="KEY|FILE", help="a public key as `export` prints it; where a hidden key goes"
    )
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Show this machine's keys, export its public one, or trust or forget the key of another machine."""
    from aira_bench.errors import UsageError
    from aira_bench.hidden_keys import make_hidden_key
    from aira_bench.keys import KeyFolder, parse_public, short
    from aira_bench.paths import host_paths
    from aira_bench.terminal import say, tell

    folder = KeyFolder(host_paths().keys)
    if (args.public is not None) != (args.action in {"trust", "forget", "hidden"}):
        raise UsageError(
            "trust and forget take one public key, hidden a file, show and export none.", hint="aira-bench key --help"
        )
    if args.action == "show":
        _show(folder, as_json=args.json)
    elif args.action == "export":
        say(f"ed25519:{folder.machine_key().public}")
    elif args.action == "hidden":
        tell(f"Made the hidden key {make_hidden_key(Path(args.public)).sha256[:12]} in {args.public}; keep it secret.")
    elif args.action == "trust":
        public = parse_public(args.public)
        folder.trust(public)
        tell(f"Records signed by {short(public)} are trusted from now on.")
    else:
        public = parse_public(args.public)
        folder.forget(public)
        tell(f"Records signed by {short(public)} are no longer trusted.")
    return 0


def _show(folder: "KeyFolder", *, as_json: bool) -> None:
    from aira_bench.terminal import say, say_json

    own = folder.machine_key().public
    trusted = sorted(folder.ring().trusted)
    if as_json:
        say_json({"folder": str(folder.path), "public": own, "trusted": trusted})
        return
    say(f"This machine: ed25519:{own}")
    say(f"Its private key lies in {folder.path}, readable by you alone.")
    for public in trusted:
        say(f"Trusted:      ed25519:{public}")
