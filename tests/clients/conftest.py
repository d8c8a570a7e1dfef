"""Fixtures: one stand-in and one daemon for tests that only add to them, fresh ones for those that do more."""

import pytest

from harness import Daemon, Intake


@pytest.fixture(scope="session")
def starter(tmp_path_factory):
    """Starts a stand-in and a daemon in front of it for the tenants given; stops both at the end, cleanly."""
    running = []

    def start(tenants, **options):
        directory = tmp_path_factory.mktemp("stack")
        intake = Intake(directory)
        running.append(intake)
        daemon = Daemon(directory, intake, tenants, **options)
        running.append(daemon)
        return intake, daemon

    yield start
    codes = {process.name: process.stop() for process in reversed(running)}
    assert set(codes.values()) <= {0}, codes
