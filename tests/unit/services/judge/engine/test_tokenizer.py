"""Special tokens of the engine's tokenizer: asked where it can tell, for what is in doubt, and once."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.judge_engine import Engine, content, running

TEXT = "a <s> b <|im_end|> x[mask] c <file_sep>"


class Vllm(Engine):
    """An engine that tokenizes as vLLM does: a special token is one token, other text is several."""

    def __init__(self, *special: str, status: int = 200) -> None:
        super().__init__()
        self.texts: list[list[str]] = []
        self.status = status
        self.special = special
        self.app.router.routes.append(Route("/tokenize", self.tokenize, methods=["POST"]))

    async def tokenize(self, request: Request) -> Response:
        """The tokens of a text, each line by itself."""
        sent = await request.json()
        self.texts.append(sent["prompt"].split("\n"))
        assert (sent["model"], sent["add_special_tokens"], sent["return_token_strs"]) == ("policy", False, True)
        pieces = [[line] if line in self.special else list(line) for line in sent["prompt"].split("\n")]
        strings = [piece for line in pieces for piece in line]
        body = {"count": len(strings), "max_model_len": 8, "tokens": [0] * len(strings), "token_strs": strings}
        return JSONResponse(body, self.status)


def judge(engine: Engine, *responses: str) -> list[str]:
    """What the engine was sent as the answers."""

    async def scenario() -> None:
        async with running(engine) as client:
            for response in responses:
                request: dict[str, Any] = {"items": [{"prompt": "p", "response": response}]}
                assert (await client.post("/v1/judge", json=request)).status_code == 200

    asyncio.run(scenario())
    return [content(sent).split("<response>\n")[1].split("\n</response>")[0] for sent in engine.bodies]


def test_only_the_tokens_of_this_engine_are_changed_and_each_is_asked_for_once() -> None:
    engine = Vllm("<file_sep>", "<s>")

    assert judge(engine, "clean x[0] <b>", TEXT, TEXT, "<s> [INST]") == [
        "clean x[0] <b>",
        "a (s) b <|im_end|> x[mask] c (file_sep)",
        "a (s) b <|im_end|> x[mask] c (file_sep)",
        "(s) [INST]",
    ]
    assert engine.texts == [["<file_sep>", "<s>", "<|im_end|>"], ["[INST]"]]


@pytest.mark.parametrize(("status", "times"), [(404, 1), (503, 1)])
def test_an_engine_that_cannot_tell_is_an_unknown_one_and_is_left_alone(status: int, times: int) -> None:
    engine = Vllm("<file_sep>", status=status)

    assert judge(engine, TEXT, TEXT) == ["a <s> b (/im_end/) x[mask] c <file_sep>"] * 2
    assert len(engine.texts) == times


def test_so_is_one_that_has_no_such_route() -> None:
    assert judge(Engine(), TEXT) == ["a <s> b (/im_end/) x[mask] c <file_sep>"]
