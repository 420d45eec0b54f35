"""Check the configured engines before a judge uses them: `python -m services.judge.check_engine`.

Each engine is put a question as the judge puts it, and then small requests that show what it can do. Prints a table for
each. Exits with status 0 when the first question got a score from all engines, 1 when one cannot judge, 2 when the
settings cannot be used.
"""

import asyncio
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from pydantic import ValidationError
from pydantic_settings import SettingsError

from selfreward.client.http import ServiceError
from selfreward.contracts.judging import JudgeItem, JudgeRequest
from selfreward.server.startup import StartRefused, what_is_wrong
from selfreward.settings import base_url
from services.judge.engine.connect import connect_engine
from services.judge.engine.engine import Engine
from services.judge.engine.named import key_of, load_engines
from services.judge.engine.readiness import trouble_of
from services.judge.engine.reply import read_reply
from services.judge.rubrics.rubric import SHIPPED, load_rubric
from services.judge.settings import JudgeSettings, engine_key, engine_url
from services.judge.verdicts.jury import Jury
from services.judge.verdicts.pointwise import judge_batch

Rows = list[tuple[str, str]]
"""What is asked about the engine, and the answer."""

_VOTES = 3
_ATTEMPTS = 2
_ITEM = JudgeItem(prompt="Why is the sky blue?", response="Air scatters blue light more than red light.")
_DIGITS = "Write a random number of twelve digits, and nothing else."
_FORM = "Score: [0-5]"
_SAMPLING = {"max_tokens": 256, "temperature": 1.0, "top_p": 1.0}
_LIMIT = re.compile("rate-?limit")
_MOST_SHOWN = 160


async def check_engine(engine: Engine) -> tuple[bool, Rows]:
    """Whether one can judge with the engine, and what it can do."""
    rows = [("ready", await trouble_of(engine.probe, engine.model) or "yes")]

    # The question that a judge would put to it.
    rubric = load_rubric(SHIPPED / "additive5")
    request = JudgeRequest(items=[_ITEM], rubric=rubric.name, votes=_VOTES)
    try:
        (judgment,) = (await judge_batch(Jury({None: engine}), rubric, request, "check")).data
    except ServiceError as error:
        return False, [*rows, ("can judge", f"no: {error}")]
    statuses = ", ".join(vote.status for vote in judgment.votes)
    if judgment.score is None:
        why = next(vote.reason or vote.text for vote in judgment.votes if vote.score is None)
        rows.append(("can judge", f"no: its votes are {statuses}; {_cut(why)}"))
    else:
        rows.append(("can judge", f"yes: its votes are {statuses}, the score is {judgment.score:.2f} of 5"))

    # What else it can do.
    for name, ask in _ABILITIES.items():
        try:
            rows.append((name, await ask(engine)))
        except ServiceError as error:
            rows.append((name, f"no: {_cut(str(error))}"))
    try:
        rows += _seen_in(await _send(engine, _DIGITS))
    except ServiceError as error:
        rows.append(("answers", f"the last request failed: {_cut(str(error))}"))
    return judgment.score is not None, rows


class _Sent:
    """A chat request in the form that the engine takes (`fields`), and its response."""

    def __init__(self, fields: Mapping[str, Any], response: httpx.Response) -> None:
        self.fields = fields
        self.response = response
        self.reply = read_reply(response.content, "", 1)
        try:
            data = response.json()
        except ValueError:
            data = {}
        self.data: dict[str, Any] = data if isinstance(data, dict) else {}

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.reply.completions[0].text if self.reply.completions else ""

    @property
    def prompt_tokens(self) -> int:
        """0 where the engine does not say."""
        return self.reply.prompt_tokens


async def _send(engine: Engine, prompt: str, begun: str | None = None, **fields: Any) -> _Sent:
    """Ask for an answer to the prompt, or for the rest of one that is `begun`. Raises ServiceError."""
    messages = [{"role": "user", "content": prompt}]
    if begun is not None:
        messages.append({"role": "assistant", "content": begun})
    sent: dict[str, Any] = {}

    async def post(fitted: Mapping[str, Any]) -> httpx.Response:
        sent.update(fields=fitted)
        return await engine.service.request("POST", "/chat/completions", json=fitted)

    body = engine.parameters.configure({"model": engine.model, "messages": messages, **_SAMPLING, **fields})
    response = await engine.parameters.send(body, post)
    return _Sent(sent["fields"], response)


async def _several_votes(engine: Engine) -> str:
    sent = await _send(engine, _DIGITS, n=2)
    choices = sent.data.get("choices")
    if isinstance(choices, list) and len(choices) == 2:
        return "yes"
    return "no: each vote is a request of its own, which costs the prompt again unless it is cached"


async def _logprobs(engine: Engine) -> str:
    sent = await _send(engine, _DIGITS, logprobs=True, top_logprobs=5)
    tokens = sent.reply.completions[0].logprobs if sent.reply.completions else None
    if tokens and any(token.get("top_logprobs") for token in tokens):
        return "yes"
    return "no: `aggregation: expected` and the probabilities of pairs do not work"


async def _structured(engine: Engine) -> str:
    sent = await _send(engine, _DIGITS, structured_outputs={"regex": _FORM}, regex=_FORM)
    if re.fullmatch(_FORM, sent.text.strip()):
        return "yes"
    return f"no: it wrote {_cut(sent.text)!r} instead of {_FORM!r}, so unreadable votes stay unparsed"


async def _continues(engine: Engine) -> str:
    flags = {"add_generation_prompt": False, "continue_final_message": True}
    continued = await _send(engine, _DIGITS, "The number is", **flags)
    try:
        anew = await _send(engine, _DIGITS, "The number is")
    except ServiceError:
        return "yes"
    # The end of the turn and the beginning of the next one are what continuing leaves out of the prompt.
    if not continued.prompt_tokens:
        return "unknown: it takes the field, and does not say how long prompts are"
    if continued.prompt_tokens < anew.prompt_tokens:
        return "yes"
    return "no: it ignores the field, so unreadable votes stay unparsed"


async def _seed(engine: Engine) -> str:
    first, again, other = [await _send(engine, _DIGITS, seed=seed) for seed in (7, 7, 8)]
    if "seed" not in first.fields:
        return "no: votes cannot be repeated"
    if first.text != again.text:
        return "no: it takes the field, and the same seed gives another text"
    return "yes" if first.text != other.text else "unknown: every seed gives the same text"


def _seen_in(sent: _Sent) -> Rows:
    """What a plain answer shows."""
    reasoning = bool(sent.reply.completions and sent.reply.completions[0].reasoning)
    limits = sorted(name for name in sent.response.headers if _LIMIT.search(name))
    left_out = sorted(name for name in _SAMPLING if name not in sent.fields)
    return [
        ("reasoning content", "yes, it is kept with the votes" if reasoning else "none"),
        ("rate-limit headers", ", ".join(limits) or "none"),
        ("fields left out", ", ".join(left_out) or "none"),
        ("model that answered", str(sent.data.get("model", "it does not say"))),
    ]


_ABILITIES: dict[str, Callable[[Engine], Awaitable[str]]] = {
    "n > 1": _several_votes,
    "logprobs": _logprobs,
    "structured outputs": _structured,
    "continue_final_message": _continues,
    "seed": _seed,
}


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


async def check(settings: JudgeSettings, transport: httpx.AsyncBaseTransport | None = None) -> bool:
    """Check the judge's engine and those of its juries, and print what they can do. Whether one can judge with all.

    `transport` replaces the network. Raises EnginesError for unusable engines.
    """
    settings = settings.model_copy(update={"judge_engine_attempts": _ATTEMPTS})
    own = (engine_url(settings), engine_key(settings), settings.judge_engine_model, settings.judge_engine_parameters)
    engines = {"": own} | {
        name: (base_url(each.url), key_of(each), each.model, each.parameters)
        for name, each in load_engines(settings.judge_engines).items()
    }
    usable = []
    for name, (url, key, model, parameters) in engines.items():
        engine = connect_engine(settings, url, key, model, parameters, transport)
        async with engine.service, engine.probe:
            can_judge, rows = await check_engine(engine)
        usable.append(can_judge)
        print(f"{name + ': ' if name else ''}{model} at {url}")
        for what, answer in rows:
            print(f"  {what:<24}{answer}")
    return all(usable)


def main() -> int:
    """Check the engines that the environment names."""
    # The table says what the log would.
    logging.disable(logging.WARNING)
    try:
        return 0 if asyncio.run(check(JudgeSettings())) else 1
    except ValidationError as error:
        print(what_is_wrong(error), file=sys.stderr)
    except (SettingsError, StartRefused) as error:
        print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
