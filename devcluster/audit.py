"""What an API server writes down about the requests it gets: one JSON object a line.

Tests read from it who wrote what, and which rights the operator used.
"""

from __future__ import annotations

from pathlib import Path

# For tests: everything, and of what service accounts write also the body, where owners are named.
EVERYTHING = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  resources: [{group: "", resources: [secrets, serviceaccounts/token]}]
- level: Metadata
  userGroups: ["system:serviceaccounts:kube-system"]
- level: Request
  userGroups: ["system:serviceaccounts"]
  verbs: [create]
- level: Metadata
"""

# For clusters that live for days: the operator's requests alone, but its Lease's.
OPERATOR = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources: [{group: coordination.k8s.io}]
- level: Metadata
  users: ["system:serviceaccount:everloop-system:everloop"]
- level: None
"""
MEGABYTES, FILES = 20, 2  # of a bounded log: the file in use, and older ones beside it
UNBOUNDED = 100_000  # megabytes: by default it is rotated at 100, under the eyes of who reads on


def flags(policy: str, folder: Path, log: Path, *, bounded: bool = False) -> list[str]:
    """Flags of the API server; `folder` gets the policy's file."""
    file = folder / "audit-policy.yaml"
    file.write_text(policy)
    found = [f"--audit-policy-file={file}", f"--audit-log-path={log}", "--audit-log-mode=blocking"]
    if bounded:
        return [*found, f"--audit-log-maxsize={MEGABYTES}", f"--audit-log-maxbackup={FILES}"]
    return [*found, f"--audit-log-maxsize={UNBOUNDED}"]


def files(log: Path) -> list[Path]:
    """The log with what was rotated out of it, oldest first."""
    return [*sorted(log.parent.glob(f"{log.stem}-*{log.suffix}")), *([log] if log.exists() else [])]
