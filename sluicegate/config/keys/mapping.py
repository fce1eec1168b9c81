"""The keys that change events on their way to one destination."""

from __future__ import annotations

from sluicegate.config.keys.key import Key, Kind, Table

MAP = Table(
    "destinations.ID.map",
    "Changes to events on their way to one destination.",
    (
        Key("only", Kind.SPECIAL, "Names of the events that go out; `*` stands for any text.", sample='["Order *"]'),
        Key("skip", Kind.SPECIAL, "Names of the events that do not.", sample='["Product List Viewed"]'),
        Key(
            "user_id", Kind.SPECIAL, "The place that `userId` is taken from, if it is there.", sample='"traits.crm_id"'
        ),
        Key("anonymous_id", Kind.SPECIAL, "The same for `anonymousId`.", sample='"context.device.id"'),
        Key(
            "rename",
            Kind.SPECIAL,
            "Old place to new place.",
            sample='{ "properties.total" = "properties.revenue" }',
        ),
        Key("drop", Kind.SPECIAL, "Places that are removed.", sample='["context.ip", "properties.products[].margin"]'),
        Key("hash", Kind.SPECIAL, "Places whose text becomes its SHA-256.", sample='["traits.email"]'),
        Key("add", Kind.SPECIAL, "Place to value.", sample='{ "properties.site" = "shop" }'),
    ),
)
