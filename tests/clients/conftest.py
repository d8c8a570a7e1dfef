"""Fixtures: one stand-in and one daemon for tests that only add to them, fresh ones for those that do more."""

import pytest

from harness import Daemon, FakeIntake


@pytest.fixture(scope="session")
def starter(tmp_path_factory):
    """Starts a stand-in and a daemon in front of it for the tenants given; stops both at the end, cleanly."""
    running = []

    def start(tenants, **options):
        directory = tmp_path_factory.mktemp("stack")
        fakeintake = FakeIntake(directory)
        running.append(fakeintake)
        daemon = Daemon(directory, fakeintake, tenants, **options)
        running.append(daemon)
        return fakeintake, daemon

    yield start
    codes = {process.name: process.stop() for process in reversed(running)}
    assert set(codes.values()) <= {0}, codes
