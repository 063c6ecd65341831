"""One network namespace for each cluster, joined to the host by a veth pair, with no way out.

Without a default route, a packet to an address that is not programmed yet goes nowhere instead of
leaving the machine. The addresses come from a small index, kept in /run: like namespaces and
links, it ends with the machine's uptime.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from devcluster import binaries
from devcluster.paths import lock, write_atomically
from devcluster.progress import UserError, run, succeeds

CLAIMS = Path("/run/everloop/clusters.json")
MOST = 100


class Claim(TypedDict):
    """A cluster's entry in the list of claims."""

    index: int
    state: str


@dataclass(frozen=True)
class Network:
    """The names and addresses of one cluster."""

    name: str
    index: int

    @property
    def namespace(self) -> str:
        """As `ip netns` lists it."""
        return f"everloop-{self.name}"

    @property
    def host_link(self) -> str:
        """The host's end of the veth pair (a link's name has at most 15 characters)."""
        return f"everloop{self.index}"

    @property
    def bridge(self) -> str:
        """The bridge of the pods, inside the namespace."""
        return f"everpods{self.index}"

    @property
    def node_ip(self) -> str:
        """The node: API server and registry listen here, for host and pods."""
        return f"10.89.{self.index}.1"

    @property
    def host_ip(self) -> str:
        """The host as pods see it."""
        return f"10.89.{self.index}.2"

    @property
    def pods(self) -> str:
        """The pods' addresses."""
        return f"10.244.{self.index}.0/24"

    # No route leads to them from outside the namespace, so every cluster can use the same.
    services = "10.96.0.0/16"
    dns_ip = "10.96.0.10"

    def inside(self) -> list[str]:
        """The words to put before a command to run it inside.

        `ip netns exec` would remount /sys and hide the cgroups.
        """
        return [str(binaries.system("nsenter")), f"--net=/run/netns/{self.namespace}"]

    def create(self) -> None:
        """Make namespace, links, addresses and routes."""
        ip, node_link = binaries.system("ip"), "node"
        within = [ip, "-n", self.namespace]
        run([ip, "netns", "add", self.namespace])
        run([ip, "link", "add", self.host_link, "type", "veth",
             "peer", "name", node_link, "netns", self.namespace])  # fmt: skip
        run([ip, "addr", "add", f"{self.host_ip}/30", "dev", self.host_link])
        run([ip, "link", "set", self.host_link, "up"])
        run([*within, "addr", "add", f"{self.node_ip}/30", "dev", node_link])
        run([*within, "link", "set", node_link, "up"])
        run([*within, "link", "set", "lo", "up"])
        # Lets the node itself, not only pods, reach Services.
        run([*within, "route", "add", self.services, "dev", node_link])
        run([*self.inside(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])

    def exists(self) -> bool:
        """Whether the namespace is there."""
        return Path(f"/run/netns/{self.namespace}").exists()

    def pids(self) -> list[int]:
        """Every process inside, containerd's shims included; pods have namespaces of their own."""
        if not self.exists():
            return []
        try:
            listed = run([binaries.system("ip"), "netns", "pids", self.namespace])
        except UserError:
            return []  # a namespace file whose mount was lost
        return [int(pid) for pid in listed.split()]

    def delete(self) -> None:
        """Remove links and namespace; its iptables rules go with it."""
        ip = binaries.system("ip")
        if succeeds([ip, "link", "show", self.host_link]):
            run([ip, "link", "delete", self.host_link])
        if self.exists():
            # Deleting a namespace ends its links later; do it while we can wait for it.
            succeeds([ip, "-n", self.namespace, "link", "delete", self.bridge])
            run([ip, "netns", "delete", self.namespace])


def claim(name: str, state: Path) -> Network:
    """The cluster's network, with an index that no other running cluster has."""
    with lock(CLAIMS.with_suffix(".lock"), "waiting for another cluster to choose its addresses"):
        claims = _claims()
        mine = claims.get(name)
        if mine is None:
            taken = {entry["index"] for entry in claims.values()}
            free = next((index for index in range(MOST) if index not in taken), None)
            if free is None:
                raise UserError(f"{MOST} clusters exist: {', '.join(claims)}. Take one down.")
            mine = {"index": free, "state": str(state)}
            write_atomically(CLAIMS, json.dumps({**claims, name: mine}))
    if mine["state"] != str(state):
        raise UserError(
            f"a cluster '{name}' exists with its state in {mine['state']}: "
            "choose another NAME, or take that one down (set EVERLOOP_STATE to its parent)"
        )
    return Network(name, mine["index"])


def claimed(name: str, state: Path) -> Network | None:
    """The network that this cluster holds, or None."""
    mine = _claims().get(name)
    return Network(name, mine["index"]) if mine and mine["state"] == str(state) else None


def release(name: str) -> None:
    """Give the index back."""
    with lock(CLAIMS.with_suffix(".lock"), "waiting for another cluster to choose its addresses"):
        claims = _claims()
        claims.pop(name, None)
        write_atomically(CLAIMS, json.dumps(claims))


def _claims() -> dict[str, Claim]:
    try:
        claims: dict[str, Claim] = json.loads(CLAIMS.read_text())
    except FileNotFoundError:
        return {}
    return claims
