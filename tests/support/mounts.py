"""Mounts that no `pod:` block may have, with words of the refusal, and mounts that look like them.

The CRDs refuse them (tests/api/test_crds.py), and so do the builders (tests/unit/test_pod.py).
"""

from __future__ import annotations

from typing import Any

from everloop import contract
from everloop.api.pod import OUR_MOUNTS, OUR_VOLUMES

Json = dict[str, Any]
VOLUME = {"name": "mine", "emptyDir": {}}
OF_OURS = "mount a volume of your own"
NOT_PLAIN = "write it plainly"
AT_OURS = "is Everloop's own: take another path"
TOKEN = contract.TOKEN_DIR


def _at(path: str) -> Json:
    return {"name": VOLUME["name"], "mountPath": path}


REFUSED_MOUNTS: dict[str, tuple[Json, str]] = {
    **{f"volume {name}": ({"name": name, "mountPath": "/x"}, OF_OURS) for name in OUR_VOLUMES},
    **{f"at {path}": (_at(path), AT_OURS) for path in OUR_MOUNTS},
    "the token's own file": (_at(f"{TOKEN}/{contract.TOKEN_NAME}"), AT_OURS),
    "far below the workspace": (_at("/workspace/a/b"), AT_OURS),
    "a slash at the end": (_at(f"{contract.TOOLS_DIR}/"), NOT_PLAIN),
    "slashes at the end": (_at("/tmp//"), NOT_PLAIN),
    "two slashes": (_at(TOKEN.replace("/run/", "//run/")), NOT_PLAIN),
    "two slashes first": (_at(f"/{TOKEN}"), NOT_PLAIN),
    "a dot": (_at(TOKEN.replace("/run/", "/./run/")), NOT_PLAIN),
    "a dot at the end": (_at(f"{contract.TOOLS_DIR}/."), NOT_PLAIN),
    "two dots": (_at(f"/tmp/..{TOKEN}"), NOT_PLAIN),
    "two dots at the end": (_at("/everloop/x/.."), NOT_PLAIN),
    "no slash first": (_at(TOKEN.removeprefix("/")), NOT_PLAIN),
    "the root": (_at("/"), NOT_PLAIN),
    "nothing but a dot": (_at("."), NOT_PLAIN),
}
TAKEN_MOUNTS: tuple[Json, ...] = tuple(
    _at(path)
    for path in (
        *("/data/cache", "/tmp", "/tmp/.aws", "/workspaces", "/everloop-data", "/models"),
        *("/etc/everloop-other", "/var/run/secrets/store", "/data/.hidden", "/data/..x", "/..."),
    )
)
