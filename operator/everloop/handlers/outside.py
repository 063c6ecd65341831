"""What kinds may ask of the world outside the cache while they observe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from everloop.handlers.kind import Key, Reader
from everloop.prometheus.client import PrometheusReader
from everloop.settings import Settings


class HttpGetter(Protocol):
    """Reads a page inside the cluster (a router's weights)."""

    async def get_text(self, url: str, timeout_seconds: float) -> str:
        """The body of a 200. Raises OSError or TimeoutError for everything else."""
        ...


@dataclass(frozen=True)
class Outside:
    """The third argument of every `observe`."""

    settings: Settings
    kube: Reader  # live reads of the API server
    prometheus: PrometheusReader | None  # None when no URL is set
    http: HttpGetter
    report_ca: Callable[[], str]  # the CA bundle (PEM) with which runs trust the report server
    wake: Callable[[Key], None]


class Http:
    """The HttpGetter of the running operator: no proxy, these addresses are the cluster's."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def get_text(self, url: str, timeout_seconds: float) -> str:
        """See HttpGetter."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with self._session.get(url, timeout=timeout) as response:
                body = await response.text()
                if response.status != 200:
                    raise OSError(f"{url} answered {response.status}: {body[:200]}")
                return body
        except aiohttp.ClientError as error:
            raise OSError(f"{url}: {error}") from error

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
