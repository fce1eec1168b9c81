"""Bodies as texts, odd in ways that no serializer writes: every way of reading them comes to the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.acceptance import Acceptance, Acceptor
from sluicegate.acceptance.body import check_own_keys, open_batch
from sluicegate.acceptance.combining import Scope, Telling, Told
from sluicegate.acceptance.plain import read_plain
from sluicegate.acceptance.times import Clock
from sluicegate.acceptance.uniform import read_uniform
from sluicegate.acceptance.ways import NO_SIGNALS, Signals
from sluicegate.config.model import ConsentConfig, ConsentModel, GatewayConfig, PurposesConfig
from sluicegate.errors import BodyRefused

RECEIVED_MS = 1_795_453_200_000
LIMITS = GatewayConfig()
SEVERAL = 6
PURPOSES = PurposesConfig(aliases={"C2": "measurement"})
CONSENT = ConsentConfig(jurisdictions={"US": ConsentModel.OPT_OUT, "*": ConsentModel.OPT_IN})

TEXTS = ['"a"', '""', '"consent"', '"userId"', '"\\u0041"', '"é"', '"\\ud800"', '"},{"', '"I"', '"\x01"']
NUMBERS = ["0", "-0", "1.0", "1e2", "9223372036854775808", "18446744073709551616", "1e400", "01", "NaN"]
BOOLEANS = ["true", "false", "true", "false", "null", '"true"', "1"]
TIMES = [
    '"2026-11-23t17:59:59.123456789+01:00"',
    '"2026-11-23T16:59:59.999999999Z"',
    '"1969-12-31T23:59:59.9999999Z"',
    '"2026-11-24T17:00:00.0009Z"',
    '"2026-11-23T16:50:00Z"',
    '"2026-11-23T16:59:60Z"',
    '"2026-11-23"',
    "null",
]
NAMES = ["tcf", "gdpr_consent", "gpc", "jurisdiction", "consent", "context", "userId", "a"]
SIGNALS = [NO_SIGNALS, Signals(gpc=True), Signals(cookie=b"c15t=c.marketing:1,i.t:1795428000000")]

Members = dict[str, tuple[float, Callable[[], str]]]
"""How likely an object has each member, and what makes its value."""


class Odd:
    """Makes bodies that are mostly what SDKs send, and odd here and there; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def object(self, members: Members) -> str:
        pairs = [(name, make()) for name, (likelihood, make) in members.items() if self.chance.random() < likelihood]
        if pairs and self.chance.random() < 0.06:
            name, value = self.chance.choice(pairs)
            pairs.append((name, self.any([value, members[name][1]()], ["null"], TEXTS)))
        if self.chance.random() < 0.4:
            self.chance.shuffle(pairs)
        return "{" + ",".join([f"{self.blank()}{self.name(name)}:{self.blank()}{value}" for name, value in pairs]) + "}"

    def any(self, *choices: list[str]) -> str:
        return self.chance.choice(self.chance.choice(choices))

    def mostly(self, usual: str, *others: list[str]) -> str:
        return usual if self.chance.random() < 0.95 else self.any(*others)

    def blank(self) -> str:
        return self.chance.choice([""] * 20 + [" ", "\r\n\t"])

    def name(self, name: str) -> str:
        first = f"\\u{ord(name[0]):04x}" if self.chance.random() < 0.01 else name[0]
        return f'"{first}{name[1:]}"'

    def free(self) -> str:
        names = self.chance.choices(NAMES, k=self.chance.randrange(3))
        return "{" + ",".join([f'"{name}":{self.any(TEXTS[:5], NUMBERS[:4], BOOLEANS)}' for name in names]) + "}"

    def choices(self) -> str:
        one = partial(self.any, BOOLEANS)
        dated = partial(self.any, ["1795453100000", "null"])
        return self.object(
            {"marketing": (0.7, one), "C2": (0.4, one), "necessary": (0.1, one), "givenAt": (0.1, dated)}
        )

    def context(self) -> str:
        lists = partial(self.any, ['["C2"]', '["marketing"]', "[]", "[1]"])
        return self.object(
            {
                "consent": (0.7, partial(self.object, {"categoryPreferences": (0.95, self.choices)})),
                "consentManagement": (
                    0.2,
                    partial(self.object, {"allowedConsentIds": (0.5, lists), "deniedConsentIds": (0.5, lists)}),
                ),
                "tcf": (0.1, self.free),
                "gpc": (0.1, partial(self.any, BOOLEANS)),
                "jurisdiction": (0.1, partial(self.any, ['"US"', '"DE"', "1"])),
                "page": (0.2, self.free),
            }
        )

    def event(self) -> str:
        one = partial(self.any, BOOLEANS)
        return self.object(
            {
                "type": (0.99, partial(self.mostly, '"track"', ['"page"', '"alias"', '"consent"', "1"])),
                "messageId": (0.99, partial(self.mostly, '"m"', TEXTS, NUMBERS)),
                "timestamp": (0.99, partial(self.mostly, '"2026-11-23T16:59:59.123Z"', TIMES)),
                "event": (0.99, partial(self.mostly, '"A"', ['"Segment Consent Preference Updated"'], TEXTS)),
                "userId": (0.8, partial(self.mostly, '"u"', TEXTS, NUMBERS)),
                "anonymousId": (0.6, partial(self.mostly, '"a"', TEXTS, NUMBERS)),
                "context": (0.6, self.context),
                "consent": (0.2, self.choices),
                "integrations": (0.2, partial(self.object, {"All": (0.4, one), "crm": (0.6, one)})),
                "properties": (0.3, self.free),
                "gdpr_consent": (0.05, partial(self.any, TEXTS)),
                "sentAt": (0.05, partial(self.any, TIMES)),
                "receivedAt": (0.01, partial(self.any, TIMES)),
                "previousId": (0.02, partial(self.any, TEXTS, NUMBERS)),
            }
        )

    def batch(self) -> str:
        events = [self.event() for _ in range(self.chance.randrange(1, 4))]
        return self.object(
            {
                "batch": (1.0, lambda: "[" + self.chance.choice([",", ",", ", "]).join(events) + "]"),
                "consent": (0.15, self.choices),
                "context": (0.15, self.context),
                "integrations": (0.15, self.free),
                "sentAt": (0.05, partial(self.any, TIMES)),
                "x": (0.05, lambda: self.any([self.free(), '"batch"', events[-1]])),
            }
        )


seeds = st.integers(0, 2**32)


def outcome(accepted: Acceptance) -> tuple[Any, ...]:
    """What is stored and what is told to the ledger."""
    told = [
        (one.told, one.evidence, one.decided_at_ms, one.gpc) if isinstance(one, Telling) else None
        for one in accepted.batch.combos
    ]
    return accepted.batch, accepted.malformed_consent, accepted.rejected, told


@given(seeds)
@settings(max_examples=300)
def test_odd_batch_is_read_column_by_column_as_one_by_one(seed: int) -> None:
    odd, acceptor = Odd(seed), Acceptor(LIMITS, PURPOSES, CONSENT)
    body, said = odd.batch().encode(), odd.chance.choice(SIGNALS)
    try:
        opened = open_batch(body, max_events=100, max_depth=64)
    except BodyRefused:
        return
    scopes = [Scope("web", opened.default, ways=acceptor.ways, signals=said) for _ in range(2)]
    clock = Clock(RECEIVED_MS, opened.sent_ms)

    quick = read_uniform(body, opened, scopes[0], clock, LIMITS)

    if quick is not None:
        check_own_keys(body, opened)
        assert outcome(quick) == outcome(acceptor._one_by_one(opened.events, scopes[1], clock))


@given(seeds)
@settings(max_examples=300)
def test_odd_event_is_read_as_a_plain_one_as_closely(seed: int) -> None:
    odd, acceptor = Odd(seed), Acceptor(LIMITS, PURPOSES, CONSENT)
    body, said = odd.event().encode(), odd.chance.choice(SIGNALS)
    scopes = [Scope("web", Told(), ways=acceptor.ways, signals=said) for _ in range(2)]
    clock = Clock(RECEIVED_MS)

    quick = read_plain(body, "track", scopes[0], clock, LIMITS)

    if quick is not None:
        assert outcome(quick) == outcome(acceptor._one_by_one([body], scopes[1], clock, kind="track"))


@given(seeds)
@settings(max_examples=300)
def test_odd_event_among_others_is_read_as_alone(seed: int) -> None:
    odd, acceptor = Odd(seed), Acceptor(LIMITS, PURPOSES, CONSENT)
    raw = [odd.event().encode()] * SEVERAL + [odd.event().encode()]

    together = acceptor.accept_singles(raw, types=["track"] * len(raw), source="web", received_at_ms=RECEIVED_MS)

    if together is not None:
        scope = Scope("web", Told(), ways=acceptor.ways)
        assert outcome(together) == outcome(acceptor._one_by_one(raw, scope, Clock(RECEIVED_MS), kind="track"))
