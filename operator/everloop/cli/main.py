"""The plugin's entry point: kubectl finds `kubectl-everloop` on the PATH and runs it."""

from __future__ import annotations

import argparse
import signal
import sys

from everloop import __version__
from everloop.cli import retrain, status
from everloop.cli.client import ClientError, connect
from everloop.cli.output import complain


def parser() -> argparse.ArgumentParser:
    """The command line; every verb's module adds its own part."""
    result = argparse.ArgumentParser(
        prog="kubectl everloop", description="See and steer the life of a model."
    )
    result.add_argument("--version", action="version", version=__version__)
    verbs = result.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in (status, retrain):
        verb = verbs.add_parser(
            module.NAME, help=module.HELP, description=(module.__doc__ or "").strip()
        )
        verb.add_argument("-n", "--namespace", help="default: the namespace of the context")
        verb.add_argument("--context", help="the kubeconfig context to use")
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Exit code 1 with one line on stderr when it could not do its work."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` that has seen enough is no error
    parsed = parser().parse_args(arguments)
    try:
        client = connect(parsed.context, parsed.namespace)
        return int(parsed.run(client, parsed))
    except ClientError as error:
        complain(f"kubectl everloop: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
