"""An API server for the tier: etcd, kube-apiserver, controller-manager, no kubelet.

Every operator under test is a process of its own that watches only its test's namespace, so tests
do not meet, and has the chart's rights and no others (see support/rights.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crds import all_crds
from devcluster.control_plane_only import ControlPlane
from kube import Kube, dns_label
from operator_process import EVERLOOP, TOY, OperatorProcess
from rights import ACCOUNT, account
from rights import TOY as TOY_ACCOUNT

Start = Callable[..., OperatorProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks back on the whole tier comes last, and then what the record is held against."""
    last = ["test_what_the_tier_used_is_what_was_recorded"]
    last += ["test_the_chart_grants_exactly_what_is_used"]
    items.sort(key=lambda item: [item.name.startswith(name) for name in reversed(last)])


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The API server that most tests share."""
    audit = tmp_path_factory.mktemp("audit") / "audit.log"
    plane = ControlPlane(f"api-{os.getpid()}", audit_log=audit)
    plane.start()
    try:
        kube = Kube(plane.kubeconfig)
        release = kube.call("GET", "/version")["gitVersion"]
        wanted = os.environ.get("EVERLOOP_TEST_KUBERNETES", "")
        assert release.startswith(wanted), f"the API server is {release}, wanted is {wanted}"
        kube.install(all_crds())
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def kube(plane: ControlPlane) -> Kube:
    """The administrator of the shared API server."""
    return Kube(plane.kubeconfig)


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    return kube.namespace(dns_label(request.node.name))


@pytest.fixture
def start(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Start]:
    """Start operators for the test's namespace; they are stopped when the test ends."""
    running: list[OperatorProcess] = []

    def begin(command: list[str] = TOY, identity: str = "replica-1", **settings: Any) -> Any:
        operator = OperatorProcess(
            account(kube, tmp_path, namespace, _account(command)),
            tmp_path / f"{identity}.log",
            command=command,
            identity=identity,
            **{"namespace": namespace, "watch_namespaces": namespace} | settings,
        )
        operator.start()
        running.append(operator)
        return operator

    yield begin
    for operator in running:
        operator.stop()


@pytest.fixture(scope="module")
def toys(
    kube: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OperatorProcess, str]]:
    """A running toy operator and its namespace, for tests that do not stop it."""
    yield from _leading(kube, tmp_path_factory, "toys", TOY)


@pytest.fixture(scope="module")
def everloop(
    kube: Kube, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[OperatorProcess, str]]:
    """The operator with our own kinds, and its namespace, which each module has to itself."""
    name = f"everloop-{dns_label(request.path.stem)}"
    yield from _leading(kube, tmp_path_factory, name, EVERLOOP)


def _leading(
    kube: Kube,
    folders: pytest.TempPathFactory,
    name: str,
    command: list[str],
) -> Iterator[tuple[OperatorProcess, str]]:
    """An operator that acts in a namespace of its own, both called `name`."""
    namespace = kube.namespace(name)
    folder = folders.mktemp(name)
    kubeconfig = account(kube, folder, namespace, _account(command))
    settings = {"namespace": namespace, "watch_namespaces": namespace}
    log = folder / "operator.log"
    with OperatorProcess(kubeconfig, log, command=command, **settings) as operator:
        operator.wait_leading()
        yield operator, namespace


def _account(command: list[str]) -> str:
    """Operators of our own kinds have the chart's rights; what those used is held against it."""
    return ACCOUNT if command == EVERLOOP else TOY_ACCOUNT
