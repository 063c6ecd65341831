"""The only Prometheus I/O: instant queries, the rules API with its alerts, and the retention.

Every failure is one error, PrometheusUnavailable: who asks says so in a condition and asks again
later; nothing is decided from half an answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import aiohttp

TIMEOUT_SECONDS = 5.0
CONNECT_SECONDS = 2.0  # else a policy that drops our packets holds each pass that asks for longer
_RETENTION_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_YEAR = 365 * 86400.0


class PrometheusUnavailable(Exception):  # noqa: N818 - it names a state, shown as a reason
    """Prometheus did not answer, or not with what its API promises. The message names the URL.

    `status` is the HTTP status where there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Sample:
    """One series of an instant vector; `time` is in seconds since the epoch."""

    labels: Mapping[str, str]
    value: float
    time: float


@dataclass(frozen=True)
class Alert:
    """A pending or firing alert; `active_at` is when its condition began to hold."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: str
    active_at: datetime
    value: float


@dataclass(frozen=True)
class Rule:
    """A loaded rule and how its last evaluation went."""

    name: str
    health: str
    last_error: str = ""
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True)
class RuleGroup:
    """A loaded group; until it is `evaluated` for the first time its silence means nothing."""

    name: str
    evaluated: bool
    labels: Mapping[str, str] = field(default_factory=dict)  # of its first rule
    rules: tuple[Rule, ...] = ()

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return tuple(alert for rule in self.rules for alert in rule.alerts)


class PrometheusReader(Protocol):
    """What observers may ask; each call raises PrometheusUnavailable."""

    async def query(self, promql: str, at: datetime | None = None) -> list[Sample]: ...

    async def rules(self, selector: str) -> list[RuleGroup]: ...

    async def retention_seconds(self) -> float | None: ...


class Prometheus:
    """A PrometheusReader over HTTP. Made inside an event loop; `close` it at the end."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def query(self, promql: str, at: datetime | None = None) -> list[Sample]:
        """The instant vector of an expression now, or at a time; a scalar is one sample.

        POST, since a query that names many inputs does not fit into a URL.
        """
        form = {"query": promql}
        if at is not None:
            form["time"] = str(at.timestamp())
        data = await self._call("POST", "/api/v1/query", form)
        return _samples(data, self._url)

    async def rules(self, selector: str) -> list[RuleGroup]:
        """Loaded rules whose own labels match a selector such as `{team="a"}`, with their alerts.

        Servers that do not know `match[]` answer with all rules: filter what you use by labels.
        """
        data = await self._call("GET", "/api/v1/rules", {"match[]": selector})
        try:
            return [_group(entry) for entry in data["groups"] if entry["rules"]]
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable("/api/v1/rules", error) from error

    async def retention_seconds(self) -> float | None:
        """How long series are kept; None where only size bounds it, or no one says (Thanos)."""
        try:
            data = await self._call("GET", "/api/v1/status/runtimeinfo", {})
        except PrometheusUnavailable as error:
            if error.status == 404:
                return None
            raise
        text = data.get("storageRetention", "") if isinstance(data, dict) else ""
        return parse_retention(text)

    async def _call(self, method: str, path: str, values: Mapping[str, str]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        params, form = (values, None) if method == "GET" else (None, values)
        try:
            async with self._session.request(
                method, self._url + path, params=params, data=form
            ) as response:
                text = await response.text()
                if response.status != 200:
                    reason = _error_of(text)
                    raise PrometheusUnavailable(
                        f"{self._url}{path} answered HTTP {response.status}: {reason}",
                        response.status,
                    )
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            what = str(error) or type(error).__name__
            raise PrometheusUnavailable(f"no answer from {self._url}{path}: {what}") from error
        try:
            return json.loads(text)["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: str, error: Exception) -> PrometheusUnavailable:
        return PrometheusUnavailable(
            f"{self._url}{path} did not answer as Prometheus does"
            f" ({type(error).__name__}: {error}); is prometheus.url right?"
        )


def parse_retention(text: str) -> float | None:
    """Seconds of a retention as Prometheus prints it.

    >>> parse_retention("1w1d or 512MB")
    691200.0
    >>> parse_retention("512MB") is None
    True
    """
    first = text.split(" or ", maxsplit=1)[0].strip()
    parts = re.findall(r"([0-9]+)(ms|[smhdwy])", first)
    if not parts or "".join(number + unit for number, unit in parts) != first:
        return None
    return sum(int(number) * _RETENTION_UNITS.get(unit, _YEAR) for number, unit in parts)


def _samples(data: Any, url: str) -> list[Sample]:
    try:
        if data["resultType"] == "scalar":
            time, value = data["result"]
            return [Sample({}, float(value), float(time))]
        return [
            Sample(entry["metric"], float(entry["value"][1]), float(entry["value"][0]))
            for entry in data["result"]
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PrometheusUnavailable(
            f"{url}/api/v1/query answered with no instant vector ({type(error).__name__}: {error})"
        ) from error


def _group(entry: dict[str, Any]) -> RuleGroup:
    rules = tuple(
        Rule(
            name=rule["name"],
            health=rule.get("health", "unknown"),
            last_error=rule.get("lastError", ""),
            alerts=tuple(_alert(alert) for alert in rule.get("alerts") or ()),
        )
        for rule in entry["rules"]
    )
    # A group that was never evaluated has the zero time of Go.
    evaluated = not entry.get("lastEvaluation", "0001-").startswith("0001-")
    labels = entry["rules"][0].get("labels") or {}
    return RuleGroup(entry["name"], evaluated, labels, rules)


def _alert(entry: dict[str, Any]) -> Alert:
    value = float(entry.get("value", "nan"))
    return Alert(
        labels=entry["labels"],
        annotations=entry.get("annotations") or {},
        state=entry["state"],
        active_at=datetime.fromisoformat(entry["activeAt"]).astimezone(UTC),
        value=value if math.isfinite(value) else 0.0,
    )


def _error_of(text: str) -> str:
    """What Prometheus says is wrong, or the beginning of whatever answered in its place."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:200]
