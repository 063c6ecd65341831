"""Certificates and kubeconfigs of one cluster, signed by a CA of its own, with openssl."""

from __future__ import annotations

import json
from pathlib import Path

from devcluster import binaries
from devcluster.progress import run

# File name -> subject. The groups are what RBAC's default bindings know.
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "kubelet-client": "/O=system:masters/CN=apiserver-kubelet",
    "front-proxy": "/CN=front-proxy",
}
SERVER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local", "localhost")  # fmt: skip


def create(folder: Path, addresses: list[str], node: str | None = None) -> None:
    """Write ca, apiserver, one pair for each client and the service account keys to `folder`.

    `addresses` are those of the API server; with `node`, the name of a node whose kubelet serves
    on the first of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    openssl = binaries.system("openssl")
    ca = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"]

    def leaf(name: str, subject: str, names: list[str]) -> None:
        extensions = folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={','.join(names)}\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        request = run([openssl, "req", "-new", *_new_key(folder / name), "-subj", subject])
        run([openssl, "x509", "-req", *ca, "-set_serial", f"0x{_serial(name)}", "-days", "365",
             "-extfile", extensions, "-out", folder / f"{name}.crt"], stdin=request)  # fmt: skip

    run([openssl, "req", "-x509", "-new", *_new_key(folder / "ca"), "-subj", "/CN=everloop-dev",
         "-days", "365", "-out", folder / "ca.crt"])  # fmt: skip
    ips = [f"IP:{address}" for address in addresses]
    leaf("apiserver", "/CN=kube-apiserver", [f"DNS:{name}" for name in SERVER_NAMES] + ips)
    for client, subject in CLIENTS.items():
        leaf(client, subject, [f"DNS:{client}"])
    if node:
        leaf("kubelet", f"/O=system:nodes/CN=system:node:{node}", [f"DNS:{node}", ips[0]])
    run([openssl, "genrsa", "-out", folder / "sa.key", "2048"])
    run([openssl, "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub"])


def kubeconfig(file: Path, pki: Path, client: str, server: str, context: str) -> Path:
    """Write a kubeconfig (JSON is YAML) for one of the clients."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {"server": server, "certificate-authority": str(pki / "ca.crt")},
            }
        ],
        "users": [
            {
                "name": client,
                "user": {
                    "client-certificate": str(pki / f"{client}.crt"),
                    "client-key": str(pki / f"{client}.key"),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": client}}],
        "current-context": context,
    }
    file.write_text(json.dumps(config, indent=1) + "\n")
    file.chmod(0o600)
    return file


def _new_key(stem: Path) -> list[object]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{stem}.key"]  # fmt: skip


def _serial(name: str) -> str:
    return name.encode().hex()
