"""Any name of a feature or label, read by Prometheus itself: it is that name and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promtool import check_rules, run_tests

from everloop.api.monitor import Monitor
from everloop.manifests.promql import one_of, quote
from everloop.manifests.rules import rule_groups
from everloop.settings import Settings

NASTY = [
    '"} or vector(1) #',
    "a|b",
    ".*",
    "\\",
    "\\n",
    "\n",
    "$1",
    "{{ .Value }}",
    "`",
    "'",
    "é",
    "(?i)a",
]
names = st.lists(
    st.one_of(
        st.sampled_from(NASTY),
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
    ),
    min_size=1,
    max_size=15,
    unique=True,
)
# promtool is a process: few examples, of many names each
slowly = settings(
    max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@slowly
@given(names)
def test_prometheus_selects_exactly_the_names(tmp_path: Path, wanted: list[str]) -> None:
    """By a quoted literal each, and by one_of together, among series of other names."""
    everything = {*wanted, *(f"{name}x" for name in wanted), "another", ".", "a", "b"}
    series = {f"counted{{name={quote(name)}}}": "1" for name in sorted(everything)}
    checks = [_count(f"counted{{name={quote(name)}}}", 1) for name in wanted]
    checks.append(_count(f"counted{{name=~{one_of(wanted)}}}", len(wanted)))
    group: dict[str, Any] = {"name": "none", "rules": [{"record": "x:y:z", "expr": "vector(1)"}]}
    run_tests([group], series, checks, tmp_path, interval="1m")


def _count(selector: str, number: int) -> dict[str, Any]:
    sample = {"labels": "{}", "value": number}
    return {"expr": f"count({selector})", "eval_time": "0s", "exp_samples": [sample]}


@slowly
@given(names)
def test_promtool_takes_the_rules_of_any_features(tmp_path: Path, features: list[str]) -> None:
    """Annotations included, which Prometheus reads as templates."""
    spec = {"deployment": "flights", "inputs": {"features": features}, "absence": {}, "errors": {}}
    monitor = Monitor.model_validate({"metadata": {"name": "w", "namespace": "ml"}, "spec": spec})
    check_rules(rule_groups(monitor, "flights-v1", Settings()), tmp_path)
