"""A customer connects in a browser: from the authorise URL over Datadog's consent page to telemetry that flows."""

import json
import os
import urllib.parse
from pathlib import Path

from selenium.webdriver.common.by import By

from harness import http, uid_of, until

# What the application calls the session of the customer.
SESSION = "the-customers-session"


def admin(daemon, directory, path, body=None):
    """One call of the admin API."""
    token = (directory / "state/admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    status, _, answer = http(f"{daemon.admin}/admin/v1/{path}", data, headers)
    assert status < 300, (path, status, answer)
    return json.loads(answer)


def begin(daemon, directory, tenant):
    """Where the application sends the customer's browser."""
    begun = admin(daemon, directory, f"tenants/{tenant}/connect", {"domain": "datadoghq.com", "session": SESSION})
    return begun["authorize_url"]


def post_log(daemon, tenant, uid):
    body = json.dumps([{"message": "an order", "uid": uid}]).encode()
    status, _, answer = http(
        f"{daemon.url}/api/v2/logs", body, {"Content-Type": "application/json", "X-Tenant": tenant}
    )
    assert status == 202, (status, answer)


def accessible(browser):
    """What a reader of screens needs of any page, and that it asks nobody for anything else."""
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert browser.title
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
    assert len(browser.find_elements(By.TAG_NAME, "main")) == 1
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), "it fits the window"
    for control in browser.find_elements(By.CSS_SELECTOR, "button, input:not([type=hidden])"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    for group in browser.find_elements(By.TAG_NAME, "fieldset"):
        assert group.accessible_name, group.get_attribute("outerHTML")


def picture(browser, name):
    """Keeps pictures of the page where somebody wants to see it."""
    if directory := os.environ.get("DOGSLED_TEST_PICTURES"):
        for scheme in ("dark", "light"):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            browser.save_screenshot(str(Path(directory) / f"{name}-{scheme}.png"))


def requested(browser):
    """The hosts of all that the browser asked for."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    urls = [its["params"]["request"]["url"] for its in events if its["method"] == "Network.requestWillBeSent"]
    return {urllib.parse.urlsplit(url).hostname for url in urls if url.startswith("http")}


def keys(fakeintake, org):
    return [key["key"] for key in fakeintake.control("keys") if key["org"] == org]


def test_a_customer_who_clicks_through_is_connected_and_telemetry_flows(stack, browser, tmp_path):
    fakeintake, daemon = stack
    admin(daemon, tmp_path, "tenants", {"id": "acme"})
    post_log(daemon, "acme", "uid.browser.held.1")

    browser.get(begin(daemon, tmp_path, "acme"))
    accessible(browser)
    picture(browser, "consent")
    heading = browser.find_element(By.TAG_NAME, "h1").text
    assert "Shop Watch" in heading
    label = next(label for label in browser.find_elements(By.TAG_NAME, "label") if "Acme & Sons <Ltd>" in label.text)
    label.click()
    assert label.find_element(By.TAG_NAME, "input").is_selected()
    browser.find_element(By.XPATH, "//button[.='Approve']").click()

    until("dogsled's page", lambda: browser.title == "One more step")
    assert urllib.parse.urlsplit(browser.current_url).path == "/oauth/callback"
    accessible(browser)
    picture(browser, "confirm")
    ticket = browser.find_element(By.TAG_NAME, "code").text
    assert not keys(fakeintake, "acme"), "before the application has confirmed"
    connected = admin(daemon, tmp_path, "tenants/acme/connect/confirm", {"ticket": ticket, "session": SESSION})
    assert connected["tenant"]["organisation"]["name"] == "Acme & Sons <Ltd>"

    (key,) = keys(fakeintake, "acme")
    assert not keys(fakeintake, "initech"), "the organisation that was not chosen"
    post_log(daemon, "acme", "uid.browser.fresh.1")
    assert fakeintake.wait(key, 2), daemon.warnings()
    assert {uid_of(row["item"]) for row in fakeintake.items(key)} == {"uid.browser.held.1", "uid.browser.fresh.1"}
    assert key not in browser.page_source and key not in daemon.told()

    browser.refresh()
    accessible(browser)
    picture(browser, "again")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Already used"
    assert requested(browser) == {"127.0.0.1"}
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert not [words for words in complaints if "Content Security Policy" in words], complaints


def test_a_customer_who_refuses_is_told_how_to_try_again(stack, browser, tmp_path):
    fakeintake, daemon = stack
    admin(daemon, tmp_path, "tenants", {"id": "acme"})
    browser.set_window_size(360, 640)
    browser.get(begin(daemon, tmp_path, "acme"))
    accessible(browser)
    picture(browser, "consent-narrow")
    browser.find_element(By.XPATH, "//button[.='Deny']").click()
    until("dogsled's page", lambda: "/oauth/callback" in browser.current_url)
    accessible(browser)
    picture(browser, "denied")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Not connected"
    assert "click it again" in browser.find_element(By.TAG_NAME, "main").text
    assert not keys(fakeintake, "acme")
    assert admin(daemon, tmp_path, "tenants/acme")["state"] == "pending"
