"""What users write stays a value: in no shell, query, file, variable or label does it become more.

Of git's URLs, revisions and paths: test_injection_git.py; of labels and annotations of pods:
test_injection_labels.py; of a step's command: test_shim.py, too.
Strings are arbitrary here, far beyond what the CRDs admit: builders must not depend on them.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from runs import make_run

from everloop import contract
from everloop.api.deployment import Deployment, RejectedVersion
from everloop.api.modelversion import Artifact, Signature
from everloop.api.monitor import Monitor
from everloop.api.trainingrun import TrainingRun
from everloop.handlers.monitor import _record
from everloop.manifests.pod import variable
from everloop.manifests.router_config import BOOTSTRAP, CLUSTERS, ROUTES, Endpoint, router_files
from everloop.manifests.router_routes import parse_weights, route_table, weights_json
from everloop.manifests.rules import RULES_KEY, build_rules_config_map, rule_groups
from everloop.manifests.server import Served, build_server
from everloop.manifests.trainingrun import build_config
from everloop.manifests.trainingrun_job import build_job
from everloop.plans.history import WORDS, Record, Word, build_record, read_history
from everloop.plans.monitor_observed import Record as RunRecord
from everloop.settings import Settings

Dict = dict[str, Any]
SETTINGS = Settings()
NASTY = [
    "$(HOME)", "$$(HOME)", "$", "`id`", "$(id)", "; rm -rf /", "a\nb: c", "{{ .Release }}", "%s",
    '"}', "'", "\\", "-v", "--", "<own>", "<%= x %>", "\x7f", "\u2028", "é", "🙂", "#", "& x",
    "!!x",
]  # fmt: skip
DEPLOYMENT = Deployment.model_validate(
    {
        "metadata": {"name": "m", "namespace": "ml"},
        "spec": {"modelName": "m", "rollout": {"steps": [{"weight": 100}]}},
    }
)
texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from(NASTY), max_size=3).map("".join),
)


some = texts.filter(bool)


def kubelet(value: str, known: Dict) -> str:
    """How the kubelet fills in variables (third_party/forked/golang/expansion in Kubernetes)."""

    def fill(match: re.Match[str]) -> str:
        if match[0].startswith("$("):
            return str(known.get(match[0][2:-1], match[0]))
        return "$" if match[0] == "$$" else match[0]

    return re.sub(r"\$\$|\$\([^)]*\)|\$.", fill, value, flags=re.DOTALL)


@given(texts)
def test_a_variable_of_ours_has_exactly_its_value(text: str) -> None:
    assert kubelet(variable("X", text)["value"], {"HOME": "/root", "id": "0"}) == text


@given(st.lists(texts, min_size=1, max_size=5), st.lists(texts, max_size=3))
def test_a_command_is_a_list_of_words_for_no_shell(command: list[str], args: list[str]) -> None:
    """Behind our shim and `--`, unchanged; $(VARIABLES) are the user's, as in every container."""
    run = TrainingRun.model_validate(
        make_run(steps=[{"name": "train", "command": command, "args": args}])
    )
    job = build_job(SETTINGS, run, 1, compares=False, resolution=None)
    step = job["spec"]["template"]["spec"]["initContainers"][1]
    ours = step["command"][: step["command"].index("--") + 1]
    assert ours[0] == contract.SHIM
    assert step["command"] == [*ours, *command, *args]
    assert "args" not in step


@given(
    parameters=st.dictionaries(st.text("abZ_", min_size=1), texts, max_size=4),
    uri=texts,
    url=some,
    revision=some,
)
def test_what_a_run_is_told_is_what_was_written(
    parameters: dict[str, str], uri: str, url: str, revision: str
) -> None:
    git = {"url": url, "revision": revision, "path": uri}
    document = make_run(
        parameters=parameters, source={"git": git}, data=[{"name": "d", "uri": f"s3://b{uri}"}]
    )
    run = TrainingRun.model_validate(document)
    data = build_config(SETTINGS, run, None, "", "CA")["data"]
    told = json.loads(data[contract.RUN_CONFIG_NAME])
    assert set(data) == {contract.RUN_CONFIG_NAME, contract.CA_NAME}
    assert told["parameters"] == parameters
    assert told["source"]["git"] == git
    assert told["data"] == [{"name": "d", "uri": f"s3://b{uri}", "digest": None}]


@given(feature=some, uri=texts, digest=texts)
def test_a_server_gets_its_signature_to_the_letter(feature: str, uri: str, digest: str) -> None:
    entry = {"name": feature, "datatype": "FP64", "shape": [-1]}
    served = Served(
        "m-v1", 1, "m",
        Artifact.model_construct(uri=uri, digest=digest, format="sklearn"),
        None,
        Signature.model_validate({"inputs": [entry], "outputs": [entry]}),
    )  # fmt: skip
    server = build_server(DEPLOYMENT, served, SETTINGS, {})
    container = server["spec"]["template"]["spec"]["containers"][0]
    told = {item["name"]: item.get("value", "") for item in container["env"]}
    filled = {name: kubelet(value, told) for name, value in told.items()}
    assert json.loads(filled[contract.ENV_SIGNATURE])["inputs"][0]["name"] == feature
    assert filled[contract.ENV_ARTIFACT_URI] == uri
    assert filled[contract.ENV_ARTIFACT_DIGEST] == digest


@given(versions=st.lists(texts, min_size=1, max_size=3, unique=True), host=texts)
def test_a_routers_files_are_json_with_exactly_these_clusters(
    versions: list[str], host: str
) -> None:
    weights = {versions[0]: 100}
    files = router_files("m", [Endpoint(name, host) for name in versions], weights)
    assert set(json.loads(files[BOOTSTRAP])) == {
        "node", "admin", "dynamic_resources", "static_resources", "stats_config",
    }  # fmt: skip
    clusters = json.loads(files[CLUSTERS])["resources"]
    assert [cluster["name"] for cluster in clusters] == versions
    for cluster in clusters:
        (end,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        assert end["endpoint"]["address"]["socket_address"]["address"] == host
    (table,) = json.loads(files[ROUTES])["resources"]
    assert table == json.loads(json.dumps(route_table(versions, weights)))
    assert parse_weights(weights_json(weights)) == weights


@given(st.lists(some, min_size=1, max_size=4, unique=True))
def test_features_in_rules_are_what_was_named(features: list[str]) -> None:
    """The same in the ConfigMap's YAML as in the object; promtool reads them in tests/rules."""
    monitor = Monitor.model_validate(
        {
            "metadata": {"name": "watch", "namespace": "ml"},
            "spec": {"deployment": "flights", "inputs": {"features": features}},
        }
    )
    groups = rule_groups(monitor, "flights-v1", SETTINGS)
    text = build_rules_config_map(monitor, "flights-v1", SETTINGS)["data"][RULES_KEY]
    assert yaml.safe_load(text) == {"groups": groups}


KEPT = ("decision", "version", "reason", "message", "time", "verdicts", "type", "run", "trigger")
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEPT), texts), inner)
    ),
    max_leaves=8,
)


@given(feature=some, reason=texts, message=texts)
def test_a_decision_is_read_as_it_was_written(feature: str, reason: str, message: str) -> None:
    entry = {"name": feature, "datatype": "FP64", "shape": [-1]}
    served = Served(
        "m-v1", 1, "m",
        Artifact(uri="s3://m", digest="sha256:" + "0" * 64),
        None,
        Signature.model_validate({"inputs": [entry], "outputs": [entry]}),
    )  # fmt: skip
    record = Record("Rejection", 3, served, reason[:100], message, "2026-11-28T10:00:00Z")
    kept = build_record(DEPLOYMENT, record).manifest
    assert read_history("m", [json.loads(json.dumps(kept))]).records == (record,)


@pytest.mark.parametrize("word", WORDS)
def test_a_decision_with_many_words_is_not_forgotten(word: Word) -> None:
    artifact = Artifact(uri="s3://m", digest="sha256:" + "0" * 64)
    served = Served("m-v1", 1, "m", artifact)
    record = Record(word, 1, served, "R" * 200, "m" * 5000, "2026-11-28T10:00:00Z")
    (read,) = read_history("m", [build_record(DEPLOYMENT, record).manifest]).records
    assert (read.served, len(read.reason), len(read.message)) == (served, 128, 1024)


@given(st.dictionaries(st.sampled_from(KEPT), anything), anything, st.sampled_from([1, "1", None]))
def test_what_is_no_record_of_a_decision_is_passed_over(
    changed: Dict, whole: Any, revision: Any
) -> None:
    """Whoever may write ControllerRevisions in the namespace may write anything into them."""
    artifact = Artifact(uri="s3://m", digest="sha256:" + "0" * 64)
    record = Record("Rejection", 1, Served("m-v1", 1, "m", artifact), "Why", "", "2026-11-28")
    kept = build_record(DEPLOYMENT, record).manifest
    other = build_record(DEPLOYMENT, replace(record, word="Promotion")).manifest
    crafted = {**kept, "revision": revision, "data": {**kept["data"], **changed}}
    for data in (crafted, {**kept, "data": whole}):
        history = read_history("m", [data, other])
        assert record.served == history.find("m-v1")
        for read in history.records:  # what a status can say
            RejectedVersion.model_validate(
                {"modelVersion": read.version, "reason": read.reason, "time": read.time}
            )
        retraining = {**data, "data": {"type": "Retraining", **_dict(data["data"])}}
        for item in (data, retraining):
            assert _record(item, "m") is None or isinstance(_record(item, "m"), RunRecord)


def _dict(value: Any) -> Dict:
    return value if isinstance(value, dict) else {}
