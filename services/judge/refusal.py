"""Requests that are answered with an error, and the checks that the wire contracts cannot express."""

from collections.abc import Sequence

from starlette.responses import Response

from selfreward.announcements import policy_number
from selfreward.contracts import JudgeItem
from services.judge.errors import error_response
from services.judge.rubric import Rubric


class Refused(Exception):
    """A request that is answered with an error; carries the answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def invalid_fields(problems: Sequence[tuple[str, str]]) -> Refused:
    """422 for (field, what is wrong and what to do) of each problem."""
    message = "\n".join(line for _, line in problems)
    return Refused(error_response(422, message, "invalid_request_error", param=problems[0][0], code="invalid_request"))


def find_rubric(rubrics: dict[str, Rubric], wanted: str) -> Rubric:
    """A rubric by name or id; Refused (404) when it is unknown or its text is no longer the one that the id names."""
    rubric = rubrics.get(wanted.partition("@")[0])
    if rubric is not None and wanted in (rubric.name, rubric.id):
        return rubric
    known = ", ".join(known.id for known in rubrics.values())
    message = (
        f"rubric {wanted!r} is not known: use one of {known}, or add a folder for it under SELFREWARD_JUDGE_RUBRICS"
    )
    raise Refused(error_response(404, message, "not_found_error", param="rubric", code="rubric_not_found"))


def check_items(items: Sequence[JudgeItem], rubric: Rubric, max_items: int) -> None:
    """The configured size, and what this rubric needs. Raises Refused (422)."""
    problems = []
    if len(items) > max_items:
        problems.append(("items", f"items has {len(items)} entries, {max_items} are allowed: send several requests"))
    for index, item in enumerate(items):
        if item.id is not None and not item.id.isprintable():
            path = f"items.{index}.id"
            problems.append((path, f"{path} = {item.id!r} has unprintable characters: leave them out"))
        for field in ("prompt", "response"):
            if getattr(item, field) == []:
                problems.append((f"items.{index}.{field}", f"items.{index}.{field} has no message: give at least one"))
        if "reference" in rubric.template.fields and item.reference is None:
            path = f"items.{index}.reference"
            problems.append((path, f"{path} is missing: rubric {rubric.name!r} compares with a reference"))
    if problems:
        raise invalid_fields(problems)


def check_policy(policy: str | None) -> None:
    """A pin must be `policy@N`. Raises Refused (422)."""
    try:
        if policy is not None:
            policy_number(policy)
    except ValueError as error:
        raise invalid_fields([("policy", f"policy = {policy!r}: {error}, or leave it out for the newest")]) from error


def overloaded(waiting: int) -> Refused:
    """429: more work is waiting than is taken on."""
    message = f"{waiting} items are already waiting for the judging engine: try again, or run more replicas"
    return Refused(error_response(429, message, "rate_limit_error", code="overloaded", headers={"Retry-After": "1"}))
