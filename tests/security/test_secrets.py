"""A system full of canaries is made to fail in every way; none of them may be seen anywhere afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluicegate.testing.http_receiver import HttpReceiver, Reply, Request
from tests.end_to_end.harness import System, poll, track
from tests.security.canaries import Artefact, Canaries, endpoints, files, letters, outputs, processes, top

PLACES = ("write-key", "hook-secret", "header", "basic", "query", "path", "variable", "setting", "password", "deep")
SECRETS = Canaries(PLACES, signing=("hook-secret",))
CANARIES = SECRETS.values
CONFIG = """
[logs]
level = "debug"
format = "{format}"
[supervisor]
retry_delay = "20s"
[destinations.echoing]
type = "webhook"
requires = ["necessary"]
url = "{url}?token={query}"
secret = "{hook-secret}"
headers = {{ Authorization = "Bearer {header}", X-Basic = "${{BASIC_PASSWORD}}" }}
[destinations.unknown]
type = "webhook"
requires = ["necessary"]
url = "http://unknown-host.invalid/{path}?token={query}"
secret = "{hook-secret}"
test_on_load = true
{plugins}
"""
PLUGIN = """
[destinations.{how}]
type = "leaky"
requires = ["necessary"]
how = "{how}"
api_key = "${{VENDOR_KEY}}"
plain = "https://robot:{password}@vendor.example/{path}"
deep = [{{ token = "{deep}" }}]
secret_setting = "{setting}"
"""
LEAKY = """
import logging, os, sys, threading
from sluicegate.config.declaration import Settings
from sluicegate.config.secret import Secret
from sluicegate.destinations.base import Destination
from sluicegate.errors import CredentialsRefused, NotReady, Rejected, Retry

class LeakySettings(Settings):
    how: str
    api_key: str
    plain: str
    deep: list
    secret_setting: Secret

def tell(settings):
    return (f"failed with {settings.api_key} {settings.plain} {settings.deep} {settings.secret_setting.reveal()} "
            f"{settings!r} and {os.environ['VENDOR_KEY']}\\n2026-01-01 forged line")

def fail_in_thread(text):
    raise RuntimeError(text)

class Leaky(Destination):
    settings_type = LeakySettings

    def __init__(self, settings, context):
        super().__init__(settings, context)
        self.text = tell(settings)
        logging.getLogger("vendor.client").warning("made: %s", self.text)
        if settings.how == "making":
            raise ValueError(self.text)

    def initialize(self):
        if self.settings.how == "initialize":
            raise RuntimeError(self.text)
        if self.settings.how == "not-ready":
            raise NotReady(self.text)
        if self.settings.how == "refused":
            raise CredentialsRefused(self.text)

    def deliver(self, batch):
        logging.getLogger("vendor.client").debug("posting to %s", self.settings.plain)
        how = self.settings.how
        if how == "raise":
            raise RuntimeError(self.text)
        if how == "retry":
            raise Retry(self.text)
        if how == "reject":
            raise Rejected(self.text)
        if how == "exit":
            raise SystemExit(self.text)
        if how == "thread":
            thread = threading.Thread(target=fail_in_thread, args=(self.text,))
            thread.start()
            thread.join()
        if how == "crash":
            try:
                raise RuntimeError(self.text)
            except RuntimeError:
                logging.exception("crashing")
            os._exit(3)

    def destroy(self):
        raise RuntimeError(self.text)
"""
WAYS = ["making", "initialize", "not-ready", "refused", "raise", "retry", "reject", "exit", "thread", "crash"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    site = tmp_path / "site"
    info = site / "leaky-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(
        "[sluicegate.destinations]\nleaky = leaky:Leaky\n[sluicegate.settings]\nleaky = leaky:LeakySettings\n"
    )
    site.joinpath("leaky.py").write_text(LEAKY)
    secrets = {"BASIC_PASSWORD": CANARIES["basic"], "VENDOR_KEY": CANARIES["variable"]}
    return {"PYTHONPATH": str(site), **secrets}


@pytest.fixture
def echo() -> Iterator[HttpReceiver]:
    """A vendor that refuses every event and repeats what it was sent, secrets included."""

    def answer(request: Request) -> Reply:
        return Reply(400, body=f"no: {request.path} {dict(sorted(request.headers.items()))}".encode())

    one = HttpReceiver(answer)
    yield one
    one.close()


def everything(system: System, message_id: str) -> Iterator[Artefact]:
    """All that a running system shows."""
    commands = [
        *(["status", "--json"], ["status"], ["stats", "--json"], ["validate", str(system.config_path)]),
        *(["explain", message_id, "--json"], ["explain", message_id], ["audit", "verify"], ["audit", "export"]),
        ["load", "making", "not-ready", "--json"],
    ]
    yield from endpoints(system)
    yield from outputs(system, commands)
    yield from letters(system)
    yield top(system)
    yield from processes(system)


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_secret_is_seen_anywhere_after_every_kind_of_failure(
    system: Callable[..., System], echo: HttpReceiver, environ: dict[str, str], format: str
) -> None:
    plugins = "".join(PLUGIN.format(how=how, **CANARIES) for how in WAYS)
    one = system(CONFIG.format(url=echo.url, format=format, plugins=plugins, **CANARIES), environ=environ)
    text = one.config_path.read_text().replace("a-write-key", CANARIES["write-key"])
    one.config_path.write_text(text.replace('["127.0.0.1"]', '["127.0.0.1", "vendor.example"]'))
    one.start()
    event = {**track(), "writeKey": CANARIES["write-key"]}
    body = json.dumps(event).encode()

    assert one.request("POST", "/v1/track", body)[0] == 200
    assert one.request("POST", "/v1/track", body, {"Authorization": f"Bearer {CANARIES['write-key']}x"})[0] == 401
    assert one.request("GET", f"/v1/nothing?writeKey={CANARIES['write-key']}")[0] == 404
    one.until("echoing", "refused", lambda s: s.dead == 1)
    one.until("reject", "refused", lambda s: s.dead == 1)
    for how in ("making", "initialize", "not-ready", "refused", "raise", "retry", "exit", "unknown"):
        one.until(how, "failed", lambda s: bool(s.error))
    poll("a crash", lambda: "crashing" in one.log())
    poll("a failed thread", lambda: "a thread has ended" in one.log())
    os.kill(one.status("retry").pid or 0, signal.SIGKILL)
    found = SECRETS.seen_anywhere(everything(one, event["messageId"]))
    one.stop()
    found |= SECRETS.seen_anywhere(files(one))

    assert found == {}
    assert len(one.log()) > 10_000


def test_mistakes_in_a_configuration_show_no_secret(tmp_path: Path, environ: dict[str, str]) -> None:
    path = tmp_path / "bad.toml"
    plugin = PLUGIN.format(how="making", **CANARIES).replace('how = "making"', "how = 7")
    path.write_text(
        f"""
        [gateway]
        write_keys = {{ web = "{CANARIES["write-key"]} with spaces" }}
        [destinations.crm]
        type = "webhook"
        requires = ["necessary"]
        url = "https://robot:{CANARIES["password"]}@crm.example/{CANARIES["path"]}?token={CANARIES["query"]}"
        headers = {{ Authorization = "Bearer\\n{CANARIES["header"]}" }}
        secert = "{CANARIES["hook-secret"]}"
        [destinations.inside]
        type = "webhook"
        requires = ["necessary"]
        url = "http://10.0.0.1/{CANARIES["path"]}?token={CANARIES["query"]}"
        {plugin}
        """
    )
    command = [sys.executable, "-m", "sluicegate.scripts.admin"]
    outputs = []
    for arguments in (["validate", str(path)], ["validate", str(path), "--json"], ["serve", "--config", str(path)]):
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env={**os.environ, **environ}, cwd=tmp_path
        )
        assert done.returncode == 2, done
        outputs.append(done.stdout + done.stderr)

    assert [SECRETS.seen_in(text) for text in outputs] == [[], [], []]
    assert all("destinations.inside.url" in text for text in outputs)


def test_hash_of_a_configuration_cannot_be_used_to_try_out_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.config import secret
    from sluicegate.config.model import DestinationConfig, Requirement, config_hash

    def hashed(key: str) -> str:
        return config_hash(DestinationConfig("crm", "webhook", Requirement(), settings={"key": secret.Secret(key)}))

    monkeypatch.setattr(secret, "_key", b"one")
    ours = [hashed("hunter2"), hashed("hunter2"), hashed("hunter3")]
    secret.key_fingerprints(b"two")

    assert ours[0] == ours[1] != ours[2]
    assert hashed("hunter2") not in ours


def test_fingerprint_of_a_secret_is_keyed_and_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.config import secret

    monkeypatch.setattr(secret, "_key", b"one")
    first = repr(secret.Secret("s3cret"))
    again = f"{secret.Secret('s3cret')}"
    secret.key_fingerprints(b"two")

    assert first == again
    assert first.startswith("***")
    assert first != repr(secret.Secret("s3cret"))
