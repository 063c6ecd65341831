"""What holds for every tier."""

from __future__ import annotations

from pathlib import Path

import pytest
from devcluster import binaries, packages
from hypothesis import HealthCheck, settings

# How fast examples are made says how busy the machine is, not whether the code is right.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

API_SERVER = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "helm")
PROGRAMS = {"rules": ("promtool",), "api": API_SERVER, "faults": API_SERVER}


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build what a tier needs before its first test: on a fresh machine that takes minutes.

    Inside a test it would end with the test's time.
    """
    if session.config.option.collectonly:
        return
    here = Path(__file__).parent
    tiers = {item.path.relative_to(here).parts[0] for item in session.items}
    programs = {program for tier in tiers for program in PROGRAMS.get(tier, ())}
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        if "kube-apiserver" in programs:
            packages.require(packages.CONTROL_PLANE)
        binaries.find(*sorted(programs))
