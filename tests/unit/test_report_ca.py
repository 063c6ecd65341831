"""The report channel's own CA: replicas share one, and runs trust its successor in time."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from aiohttp import ClientSession, TCPConnector
from aiohttp.test_utils import TestServer
from report_channel import PATH, FakeCluster, FakeEngine

from everloop.intake import report_ca
from everloop.intake.reports import ReportChannel, application
from everloop.settings import Settings


async def test_replicas_share_one_ca_and_runs_trust_the_server() -> None:
    cluster = FakeCluster()
    first, second = ReportChannel(Settings()), ReportChannel(Settings())
    await first.prepare(cluster)  # type: ignore[arg-type]
    await second.prepare(cluster)  # type: ignore[arg-type]
    assert first.ca_bundle() == second.ca_bundle()
    server = TestServer(application(FakeEngine(cluster), cluster), scheme="https")  # type: ignore[arg-type]
    await server.start_server(ssl=second.tls)
    trust = ssl.create_default_context(cadata=first.ca_bundle())
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        async with (
            ClientSession(connector=TCPConnector(ssl=trust)) as session,
            session.post(
                f"https://127.0.0.1:{server.port}{PATH}",
                server_hostname="everloop.everloop-system.svc",
            ) as response,
        ):
            assert response.status == 401
    finally:
        await server.close()


def test_a_new_authority_is_trusted_a_year_before_it_signs() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    first = report_ca.make_authority(1, start)
    assert report_ca.successor([first], start + timedelta(days=365 * 7)) is None
    near = first.ends - 2 * report_ca.LONGEST_RUN + timedelta(days=1)
    second = report_ca.successor([first], near)
    assert second is not None
    both = [first, second]
    assert report_ca.signer(both, near) == first
    assert report_ca.bundle(both, near) == first.certificate + second.certificate
    later = first.ends - report_ca.LONGEST_RUN
    assert report_ca.signer(both, later) == second
    assert first.certificate in report_ca.bundle(both, later)
    assert report_ca.bundle(both, first.ends) == second.certificate
    assert report_ca.read({**report_ca.write(second), **report_ca.write(first)}) == both
