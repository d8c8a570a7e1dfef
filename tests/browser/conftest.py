"""Fixtures: a stand-in that knows the partner's OAuth client, a daemon with that client, and a browser."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))

from selenium import webdriver  # noqa: E402  # after the path of the harness
from selenium.webdriver.chrome.service import Service  # noqa: E402

from harness import Daemon, FakeIntake, environment  # noqa: E402

CLIENT = {"client_id": "browser-partner", "client_secret": "browser-partner-secret"}


def free_port():
    """A port that nobody has at present: Datadog must know beforehand where browsers are sent back to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def stack(tmp_path):
    """The stand-in and the daemon, whose connect listener the partner's client is registered with."""
    running = []
    try:
        fakeintake = FakeIntake(tmp_path)
        running.append(fakeintake)
        listen = f"127.0.0.1:{free_port()}"
        redirect_uri = f"http://{listen}/oauth/callback"
        orgs = [{"id": "initech", "name": "Initech"}, {"id": "acme", "name": "Acme & Sons <Ltd>"}]
        fakeintake.control("clients", CLIENT | {"name": "Shop Watch", "redirect_uris": [redirect_uri], "orgs": orgs})
        secrets = "".join(f'{name} = "{value}"\n' for name, value in CLIENT.items())
        extra = f'[oauth]\n{secrets}redirect_uri = "{redirect_uri}"\nlisten = "{listen}"\n'
        daemon = Daemon(tmp_path, fakeintake, [], extra=extra)
        running.append(daemon)
        yield fakeintake, daemon
    finally:
        codes = {process.name: process.stop() for process in reversed(running)}
        assert set(codes.values()) <= {0}, codes


@pytest.fixture
def browser(tmp_path):
    """Chromium without a window, that asks nobody but loopback."""
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ.get("DOGSLED_TEST_CHROMIUM") or shutil.which("chromium")
    for argument in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "no-proxy-server",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=900,700",
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(shutil.which("chromedriver"), env=environment())
    driver = webdriver.Chrome(options, service)
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()
