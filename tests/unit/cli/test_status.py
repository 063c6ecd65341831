"""The picture that `kubectl everloop status` draws."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from everloop import contract
from everloop.cli import main, status
from everloop.cli.client import ClientError
from everloop.cli.output import visible
from everloop.cli.retrain import find_monitor
from everloop.cli.status import draw, find_chain


class FakeClient:
    """Lists what it was given."""

    namespace = "ml"

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects

    def list(self, plural: str) -> list[dict[str, Any]]:
        return self.objects.get(plural, [])


def make(name: str, spec: dict[str, Any], status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": name, **meta},
        "spec": spec,
        "status": status,
    }


def make_client() -> FakeClient:
    trial = make(
        "search-0",
        {"modelName": "flights"},
        {"phase": "Complete", "metrics": {"val_auc": "0.61234567"}},
        labels={contract.LABEL_EXPERIMENT: "search", contract.LABEL_TRIAL: "0"},
        ownerReferences=[{"uid": "uid-search", "controller": True}],
    )
    caused = make(
        "watch-1-1",
        {"modelName": "flights"},
        {
            "phase": "Complete",
            "modelVersion": "flights-v2",
            "gates": [{"metric": "val_auc", "kind": "Champion", "verdict": "Skipped"}],
        },
        labels={contract.LABEL_MONITOR: "watch"},
        annotations={contract.ANNOTATION_TRIGGER: json.dumps({"signal": "InputDrift"})},
    )
    best = {"run": "search-0", "value": "0.61234567"}
    search = make(
        "search",
        {"modelName": "flights", "trials": 4, "objective": {"metric": "val_auc"}},
        {"phase": "Running", "succeeded": 1, "best": best},
    )
    artifact = {"digest": "sha256:0123456789abcdef"}
    data = {"name": "days", "digest": "sha256:fedcba9876543210", "rows": 45443}
    version = make(
        "flights-v2",
        {
            "modelName": "flights",
            "version": 2,
            "artifact": artifact,
            "provenance": {
                "run": "watch-1-1",
                "parent": "flights-v1",
                "resolved": {"data": [data]},
            },
        },
        {},
    )
    serving = make(
        "flights",
        {"modelName": "flights"},
        {
            "phase": "Serving",
            "url": "http://flights.ml.svc",
            "traffic": [
                {
                    "modelVersion": "flights-v2",
                    "weight": 100,
                    "readyReplicas": 1,
                    "role": "Champion",
                }
            ],
        },
    )
    watch = make(
        "watch",
        {"deployment": "flights"},
        {
            "phase": "Watching",
            "champion": "flights-v2",
            "signals": [
                {
                    "name": "InputDrift",
                    "state": "Firing",
                    "value": "2.04999",
                    "bound": "1",
                    "top": ["temp", "dewp"],
                }
            ],
            "refusals": [{"reason": "Cooldown", "count": 2, "message": "until noon"}],
        },
    )
    other = make("rides-1", {"modelName": "rides"}, {})
    return FakeClient(
        experiments=[search],
        trainingruns=[trial, caused, other],
        modelversions=[version],
        deployments=[serving],
        monitors=[watch],
    )


EXPECTED = """\
model flights
├─ experiment search  Running  1/4 trials, best search-0 val_auc=0.6123
│   ★ trial search-0  Complete  val_auc=0.6123
├─ version flights-v2  sha256:0123456789ab  from run watch-1-1  after flights-v1
│     data days sha256:fedcba987654, 45443 rows
├─ mldep flights  Serving  http://flights.ml.svc
│     flights-v2           100 % ████████████████████ Champion, 1 ready
└─ monitor watch  Watching  watches flights-v2
      InputDrift   Firing   2.05 (bound 1)  temp, dewp
      refused 2 times: Cooldown (until noon)
      ↻ run watch-1-1  Complete  → flights-v2  gate val_auc Champion: Skipped  because InputDrift"""


@pytest.mark.parametrize("name", ["flights", "search", "watch", "watch-1-1", "flights-v2"])
def test_any_name_of_the_model_draws_its_whole_chain(name: str) -> None:
    chain = find_chain(make_client(), name)  # type: ignore[arg-type]
    assert "\n".join(draw(chain)) == EXPECTED


def test_the_last_branch_alone_ends_the_tree() -> None:
    """Also with a second Deployment after the first one's Monitor."""
    client = make_client()
    client.objects["deployments"].append(make("canary", {"modelName": "flights"}, {}))
    lines = list(draw(find_chain(client, "flights")))  # type: ignore[arg-type]
    heads = [line for line in lines if line.startswith(("├─", "└─"))]
    assert [head[0] for head in heads] == ["├"] * (len(heads) - 1) + ["└"]
    assert heads[-1].startswith("└─ mldep canary")
    assert lines[lines.index(heads[-2]) + 1].startswith("│     InputDrift")


def test_an_unknown_name_lists_the_models_there_are() -> None:
    with pytest.raises(ClientError, match=r"nothing is called fligths .* flights, rides"):
        find_chain(make_client(), "fligths")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["watch", "flights"])
def test_retrain_takes_a_monitor_or_its_deployment(name: str) -> None:
    assert find_monitor(make_client(), name) == "watch"  # type: ignore[arg-type]


def test_retrain_says_which_monitors_there_are() -> None:
    with pytest.raises(ClientError, match=r"has no Monitor nope.*there are: watch"):
        find_monitor(make_client(), "nope")  # type: ignore[arg-type]


def test_retrain_wants_one_monitor() -> None:
    client = make_client()
    client.objects["monitors"].append(make("second", {"deployment": "flights"}, {}))
    with pytest.raises(ClientError, match=r"several Monitors watch flights: .* watch, second"):
        find_monitor(client, "flights")  # type: ignore[arg-type]


# --- what others wrote is text --------------------------------------------------------------------
ORDERS = {
    "clear": "\x1b[2J",
    "title": "\x1b]0;all is well\x07",
    "link": "\x1b]8;;http://evil\x1b\\",
    "c1": "\x9b31m",
    "backspace": "Failed\b\b\b\b\b\bPassed",
    "return": "Failed\rPassed",
    "line": "well\n└─ mldep flights  Serving",
    "separator": "well\u2028",
    "direction": "\u202edessaP",
    "half": "\ud800",
    "nul": "\0",
    "delete": "\x7f",
}
orders = st.lists(st.one_of(st.sampled_from([*ORDERS.values()]), st.text(max_size=9)), max_size=4)


def written_by_others(text: str) -> FakeClient:
    """The text in all that people and programs write, as far as it is shown."""
    client = make_client()
    run = client.objects["trainingruns"][1]
    run["metadata"]["annotations"] = {contract.ANNOTATION_TRIGGER: f"note {text}"}
    run["status"]["failure"] = {"step": "train", "reason": f"Error {text}", "message": text}
    run["status"]["phase"] = f"Failed {text}"
    serving = client.objects["deployments"][0]["status"]
    verdict = {"step": 1, "metric": "errorRate", "verdict": "Fail", "message": text}
    serving["verdicts"] = [verdict]
    serving["rejected"] = [{"modelVersion": "flights-v3", "reason": text, "message": text}]
    watch = client.objects["monitors"][0]["status"]
    watch["refusals"] = [{"reason": "Cooldown", "count": 1, "message": text}]
    watch["signals"][0] |= {"value": text, "top": [text]}
    return client


def printed(client: FakeClient) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert status.run(client, argparse.Namespace(name="flights")) == 0  # type: ignore[arg-type]
    return out.getvalue()


def obeyed(text: str) -> set[str]:
    """What in a line is more than letters."""
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {letter for letter in text if unicodedata.category(letter) in hidden}


def test_nothing_of_the_picture_itself_is_shown_otherwise() -> None:
    assert printed(make_client()) == f"{EXPECTED}\n"


@example("".join(ORDERS.values()))
@given(orders.map("".join))
def test_no_text_is_an_order_to_the_terminal_or_a_line_of_the_picture(text: str) -> None:
    shown, plain = printed(written_by_others(text)), printed(written_by_others("x"))
    assert obeyed(shown) <= {"\n"}
    assert shown.count("\n") == plain.count("\n")
    assert shown.count(visible(text)) >= (5 if text else 0), "it is shown, and not left out"
    shown.encode()


def test_what_a_run_said_last_is_seen_with_its_orders() -> None:
    lines = printed(written_by_others(ORDERS["title"] + ORDERS["return"])).splitlines()
    (failed,) = (line for line in lines if "run watch-1-1" in line and "train" in line)
    assert r"train: Error \x1b]0;all is well\x07Failed\rPassed" in failed
    assert r"because note \x1b]0;all is well\x07Failed\rPassed" in failed


@pytest.mark.parametrize("text", ORDERS.values(), ids=ORDERS)
def test_an_error_is_one_line_of_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ClientError(f"nothing is called {text}")

    monkeypatch.setattr(main, "connect", refuse)
    monkeypatch.setattr(main.signal, "signal", lambda *_: None)  # this process is the tests'
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main.main(["status", "flights"]) == 1
    assert said.getvalue() == f"kubectl everloop: nothing is called {visible(text)}\n"
    assert not obeyed(said.getvalue()[:-1])


@given(st.text())
def test_letters_stay_and_what_is_shown_is_shown_once(text: str) -> None:
    shown = visible(text)
    assert not obeyed(shown)
    assert visible(shown) == shown
    letters = "".join(letter for letter in text if not obeyed(letter))
    assert visible(letters) == letters
