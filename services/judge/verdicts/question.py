"""One question to the judging engine, and how its answers become votes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from selfreward.contracts.comparisons import Argument, ComparisonVote
from selfreward.contracts.judging import Vote
from services.judge.engine.faults import Fault
from services.judge.engine.reply import Completion
from services.judge.reading.read import VerdictForm

AnyVote = TypeVar("AnyVote", bound=Vote | ComparisonVote | Argument)


@dataclass(frozen=True)
class Question(Generic[AnyVote]):
    """One filled prompt with its seed. `form` is how its verdict is written, if the engine may be held to it.

    `nothing` says in which field there is nothing to judge; such a question is not put to the engine. `read_vote` makes
    a vote of a completion, `error_vote` a vote of status `error` of the reason why there is none.
    """

    prompt: str
    read_vote: Callable[[Completion], AnyVote]
    error_vote: Callable[[str], AnyVote]
    seed: int | None = None
    form: VerdictForm[object] | None = None
    nothing: str | None = None

    def vote(self, completion: Completion) -> AnyVote:
        """The vote that a completion is, with the reasoning beside it."""
        if completion.fault is not None:
            return self.vote_for_fault(completion.fault)
        vote = self.read_vote(completion)
        if completion.reasoning is None or isinstance(vote, Argument):
            return vote
        return cast(AnyVote, vote.model_copy(update={"reasoning_content": completion.reasoning}))

    def vote_for_fault(self, fault: Fault) -> AnyVote:
        """The vote that says why there is none."""
        vote = self.error_vote(fault.reason)
        if fault.status == "error" or (isinstance(vote, Argument) and fault.status != "refused"):
            return vote
        return cast(AnyVote, vote.model_copy(update={"status": fault.status}))
