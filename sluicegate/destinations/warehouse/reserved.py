"""Words that cannot be names of tables and columns without quotes; such a name gets an underscore in front.

The lists are those of the warehouse schema that RudderStack's users have, so that tables keep their names.
"""

from __future__ import annotations

_POSTGRES = """
all analyse analyze and any array as asc asymmetric authorization between binary both case cast check collate column
constraint create cross current_date current_role current_time current_timestamp current_user default deferrable desc
distinct do else end except false for foreign freeze from full grant group having ilike in initially inner intersect
into is isnull join leading left like limit localtime localtimestamp natural new not notnull null off offset old on only
or order outer overlaps placing primary references right select session_user similar some symmetric table then to
trailing true union unique user using verbose when where
"""
_POSTGRES_SYSTEM_COLUMNS = "ctid xmin xmax cmin cmax tableoid"
"""Every table has these already (PostgreSQL 17, 5.6)."""

_BIGQUERY = """
all and any array as asc assert_rows_modified at between by case cast collate contains create cross cube current default
define desc distinct else end enum escape except exclude exists extract false fetch following for from full group
grouping groups hash having if ignore in inner intersect interval into is join lateral left like limit lookup merge
natural new no not null nulls of on or order outer over partition preceding proto range recursive respect right rollup
rows select set some struct tablesample then to treat true unbounded union unnest using when where window with within
"""

POSTGRES_WORDS = frozenset(_POSTGRES.split()) | frozenset(_POSTGRES_SYSTEM_COLUMNS.split())
BIGQUERY_WORDS = frozenset(_BIGQUERY.split())
