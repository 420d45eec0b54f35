"""Checks of a request that its wire contract cannot express: each raises an ApiError with field, value and remedy."""

from collections.abc import Sequence

from selfreward.contracts.base import policy_number
from selfreward.contracts.comparisons import MetaItem, PairItem, RankItem
from selfreward.contracts.judging import Aggregation, JudgeItem
from selfreward.server.errors import ApiError
from services.judge.rubrics.rubric import Rubric
from services.judge.rubrics.spec import KINDS, POINTWISE, Kind
from services.judge.serving.errors import invalid_fields


def find_rubric(rubrics: dict[str, Rubric], name_or_id: str) -> Rubric:
    """A rubric by name or id.

    Raises ApiError (404) when it is unknown, or its text is no longer the one that the id names.
    """
    rubric = rubrics.get(name_or_id.partition("@")[0])
    if rubric is not None and name_or_id in (rubric.name, rubric.id):
        return rubric
    ids = ", ".join(rubric.id for rubric in rubrics.values())
    message = (
        f"rubric {name_or_id!r} is not known: use one of {ids}, or add a folder for it under SELFREWARD_JUDGE_RUBRICS"
    )
    raise ApiError(404, message, "rubric", "rubric_not_found")


def check_kind(rubric: Rubric, allowed: Sequence[Kind]) -> None:
    """Check that a route takes rubrics of this kind. Raises ApiError (422) that names the right route."""
    if rubric.spec.kind not in allowed:
        route = KINDS[rubric.spec.kind].route
        message = (
            f"rubric = {rubric.name!r} is of kind {rubric.spec.kind!r}: send it to {route}, "
            f"or name a rubric of kind {', '.join(allowed)}"
        )
        raise invalid_fields([("rubric", message)])


def check_items(items: Sequence[JudgeItem], rubric: Rubric, max_items: int) -> None:
    """Check items to judge: how many there are, the kind of rubric, and what it needs. Raises ApiError (422)."""
    check_kind(rubric, POINTWISE)
    problems = _shared_problems(items, rubric, max_items)
    for index, item in enumerate(items):
        path = f"items.{index}.criteria"
        if rubric.spec.kind != "criteria" and item.criteria is not None:
            message = (
                f"{path} is for rubrics of kind 'criteria', not {rubric.name!r}: leave it out or change the rubric"
            )
            problems.append((path, message))
        if rubric.spec.kind == "criteria" and not (item.criteria or rubric.spec.criteria):
            problems.append((path, f"{path} is missing: rubric {rubric.name!r} has no criteria of its own"))
    if problems:
        raise invalid_fields(problems)


def check_pairs(items: Sequence[PairItem | MetaItem | RankItem], rubric: Rubric, max_items: int) -> None:
    """Check items to compare or rank, by a rubric whose kind is checked already. Raises ApiError (422)."""
    problems = _shared_problems(items, rubric, max_items)
    for index, item in enumerate(items):
        if not isinstance(item, PairItem):
            continue
        path = f"items.{index}.principle"
        uses = "principle" in rubric.template.fields
        if item.principle is not None and not uses:
            message = f"{path} is for rubrics of kind 'constitution', not {rubric.name!r}: leave it out"
            problems.append((path, message))
        if uses and item.principle is None and not rubric.spec.principles:
            problems.append((path, f"{path} is missing: rubric {rubric.name!r} has no principles of its own"))
    if problems:
        raise invalid_fields(problems)


def check_criteria(rubric: Rubric) -> None:
    """Check that a rubric for a ranking by criteria has criteria of its own. Raises ApiError (422)."""
    if rubric.spec.kind == "criteria" and not rubric.spec.criteria:
        raise invalid_fields([("rubric", f"rubric = {rubric.name!r} has no criteria of its own: use /v1/judge")])


def check_aggregation(aggregation: Aggregation | None, rubric: Rubric) -> None:
    """Check that the rubric's scores are single digits where expected scores are requested. Raises ApiError (422)."""
    if aggregation == "expected" and not rubric.spec.has_digit_scores:
        message = (
            f"aggregation = 'expected' reads the probabilities of single digits, and rubric {rubric.name!r} has no "
            "scale of whole numbers within 0 to 9: use mean, median or majority"
        )
        raise invalid_fields([("aggregation", message)])


def check_policy(policy: str | None, rubric: Rubric) -> None:
    """Check that a pinned version is `policy@N`, and that the rubric names no other engines. Raises ApiError (422)."""
    if policy is not None and rubric.spec.engines:
        message = f"policy = {policy!r} would not be read: rubric {rubric.name!r} names its engines; leave it out"
        raise invalid_fields([("policy", message)])
    try:
        if policy is not None:
            policy_number(policy)
    except ValueError as error:
        raise invalid_fields([("policy", f"policy = {policy!r}: {error}, or leave it out for the newest")]) from error


def _shared_problems(
    items: Sequence[JudgeItem | PairItem | MetaItem | RankItem], rubric: Rubric, max_items: int
) -> list[tuple[str, str]]:
    """The problems that all kinds of items may have, as (field, message): number, ids, references."""
    problems = []
    if len(items) > max_items:
        problems.append(("items", f"items has {len(items)} entries, {max_items} are allowed: send several requests"))
    for index, item in enumerate(items):
        if item.id is not None and not item.id.isprintable():
            path = f"items.{index}.id"
            problems.append((path, f"{path} = {item.id!r} has unprintable characters: leave them out"))
        path, reference = f"items.{index}.reference", getattr(item, "reference", None)
        if rubric.uses_reference and reference is None:
            problems.append((path, f"{path} is missing: rubric {rubric.name!r} compares with a reference"))
        if not rubric.uses_reference and reference is not None:
            message = (
                f"{path} = {reference!r:.60} would not be read: the template of rubric {rubric.name!r} has no "
                "{reference}; leave it out, or name a rubric that compares with one"
            )
            problems.append((path, message))
    return problems
