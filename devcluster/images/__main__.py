"""`python3 -m devcluster.images build|push|info|clean`: see docs/images.md."""

from __future__ import annotations

import argparse
import json
import sys

from devcluster.images import build, push, references
from devcluster.images.builder import find_builder
from devcluster.images.inputs import INPUTS
from devcluster.paths import read_info
from devcluster.progress import UserError


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m devcluster.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("build", "build images that are not there yet"),
        ("push", "build, push to the registry of a dev cluster, and print the references as JSON"),
        ("info", "print the references that a push would have now, as JSON"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("image", nargs="*", choices=[[], *INPUTS], help=", ".join(INPUTS))
        if name != "build":
            command.add_argument("--name", default="dev", help="which dev cluster")
    commands.add_parser("clean", help="forget the built images and the base")
    options = parser.parse_args(arguments)
    try:
        if options.command == "clean":
            find_builder().clean()
            return 0
        images = options.image or list(INPUTS)
        if options.command == "build":
            build(images)
            return 0
        info = read_info(options.name)
        if info is None:
            raise UserError(f"no dev cluster '{options.name}': make cluster-up NAME={options.name}")
        find = push if options.command == "push" else references
        print(json.dumps(find(info["registry"], images), indent=2))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
