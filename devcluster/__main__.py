"""The command line: `python3 -m devcluster COMMAND --name NAME`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from devcluster import binaries, cluster, control_plane_only, kind_cluster, packages, status
from devcluster.paths import lock, read_info, state_folder, state_root
from devcluster.progress import UserError, say


def main() -> int:
    """Run one command; 0 when it did what was asked."""
    arguments = _parser().parse_args()
    try:
        return int(arguments.command(arguments) or 0)
    except UserError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str, named: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=run)
        if named:
            added.add_argument("--name", default="dev", help="which cluster (default: dev)")
        return added

    up = command("up", _up, "start a cluster")
    up.add_argument("--bare", action="store_true", help="without Prometheus and the S3 store")
    down = command("down", _down, "take a cluster down")
    down.add_argument("--purge", action="store_true", help="forget its registry's images too")
    command("status", _status, "what runs in a cluster")
    command("info", _info, "print cluster.json, for other programs")
    control = command("control-plane-up", _control_plane_up, "start an API server without a node")
    control.add_argument("--kwok", action="store_true", help="with fake nodes and pods")
    control.add_argument("--audit-log", type=Path, help="write every request to this file")
    binary = command("binary", _binary, "print paths of programs, building them first", named=False)
    binary.add_argument("programs", nargs="+")
    assets = command(
        "assets", _assets, "print the folder of one release's programs, building it", named=False
    )
    assets.add_argument("release", help="a folder of devcluster/go, as kubernetes-1.34")
    crds = command("crds", _crds, "print the folder with an operator's CRDs", named=False)
    crds.add_argument("operator", choices=["prometheus-operator"])
    return parser


def _up(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    name = arguments.name
    with _locked(name):
        up = kind_cluster.up if packages.docker_answers() else cluster.up
        info = up(name)
        if not arguments.bare:
            # Only this command needs what the add-ons import.
            from devcluster import addons  # noqa: PLC0415

            addons.install(info)
    say(f"cluster '{name}' is ready after {time.monotonic() - started:.1f} s")
    print(f"export KUBECONFIG={info['kubeconfig']}")


def _down(arguments: argparse.Namespace) -> None:
    with _locked(arguments.name):
        info = read_info(arguments.name)
        # Without cluster.json `up` did not finish; then what it would have used decides.
        kind = info["kind"] == "kind" if info else packages.docker_answers()
        down = kind_cluster.down if kind else cluster.down
        down(arguments.name, arguments.purge)


def _status(arguments: argparse.Namespace) -> int:
    return status.show(arguments.name)


def _info(arguments: argparse.Namespace) -> None:
    info = read_info(arguments.name)
    if info is None:
        raise UserError(f"there is no cluster '{arguments.name}': make cluster-up")
    print(json.dumps(info, indent=2))


def _control_plane_up(arguments: argparse.Namespace) -> None:
    with _locked(arguments.name):
        plane = control_plane_only.ControlPlane(
            arguments.name, kwok=arguments.kwok, audit_log=arguments.audit_log
        )
        plane.start()
    print(f"export KUBECONFIG={plane.kubeconfig}")


def _binary(arguments: argparse.Namespace) -> None:
    for path in binaries.find(*arguments.programs).values():
        print(path)


def _assets(arguments: argparse.Namespace) -> None:
    print(binaries.assets(arguments.release))


def _crds(_: argparse.Namespace) -> None:
    print(binaries.prometheus_operator_crds())


def _locked(name: str) -> AbstractContextManager[None]:
    state_folder(name)  # refuses a name that cannot be one
    return lock(state_root() / f".{name}.lock", f"waiting for another command on '{name}'")


if __name__ == "__main__":
    sys.exit(main())
