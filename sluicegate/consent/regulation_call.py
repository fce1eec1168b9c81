"""The body of `POST /v1/regulations`: whom to erase or to suppress, in the form of Segment's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.consent.regulation import Kind, SubjectKind
from sluicegate.consent.subject import MAX_ID_LENGTH, is_id
from sluicegate.errors import BodyRefused

MAX_SUBJECTS = 5_000
"""Of one request; Segment's limit (segment.com/docs/privacy/user-deletion-and-suppression)."""
_OTHER_NAMES = {"SUPPRESS_AND_DELETE": Kind.SUPPRESS_WITH_DELETE}


@dataclass(frozen=True, slots=True)
class RegulationCall:
    """What is asked for, and for whom."""

    kind: Kind
    subject_kind: SubjectKind
    ids: tuple[str, ...]


def read_regulation_call(members: Mapping[str, Any]) -> RegulationCall:
    """The regulation in a body `{regulationType, subjectType, subjectIds}`, decoded; raises `BodyRefused`."""
    kind = members.get("regulationType")
    kinds = {**_OTHER_NAMES, **{one.value: one for one in Kind}}
    if not isinstance(kind, str) or kind not in kinds:
        raise BodyRefused("bad_regulation_type", f"regulationType must be one of: {', '.join(Kind)}")
    subject_kind = members.get("subjectType")
    if not isinstance(subject_kind, str) or subject_kind not in SubjectKind.__members__:
        raise BodyRefused("bad_subject_type", f"subjectType must be one of: {', '.join(SubjectKind)}")
    return RegulationCall(kinds[kind], SubjectKind[subject_kind], checked_ids(members.get("subjectIds")))


def checked_ids(ids: Any) -> tuple[str, ...]:
    """The ids of subjects, each once; `BodyRefused` when they are too many, too long, or none."""
    if not isinstance(ids, list | tuple) or not ids:
        raise BodyRefused("bad_subjects", "subjectIds must be a list of ids")
    if len(ids) > MAX_SUBJECTS:
        raise BodyRefused("too_many_subjects", f"send at most {MAX_SUBJECTS:,} subjectIds in one request", status=413)
    if not all(one and is_id(one) for one in ids):
        raise BodyRefused("bad_subjects", f"every one of subjectIds must be a text of 1 to {MAX_ID_LENGTH} characters")
    return tuple(dict.fromkeys(ids))
