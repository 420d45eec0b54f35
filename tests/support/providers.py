"""Stand-ins for the engines of docs/engines.md, each of which answers as its provider's documentation says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY, MODEL = "key-of-the-engine", "model-of-the-engine"
LONG, FORBIDDEN = "a prompt over the context", "a prompt that is filtered"
Sent = dict[str, Any]
Answer = tuple[int, Any]


def openai_error(message: str, status: int = 400, **fields: Any) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
    return status, {"error": error}


def says(text: str) -> Sent:
    """A message as most engines write it."""
    return {"role": "assistant", "content": text}


def takes_all(_: Sent) -> Answer | None:
    return None


@dataclass
class Provider:
    """An engine at the base URL `base`. `refuses` says what it answers to a request that has what it does not take.

    `n`: whether it gives as many choices as are asked for. `left_out` and `added` are the fields that the judge must
    leave out and add before it gets an answer, `finish` ends a filtered answer where the prompt is not refused.
    """

    name: str
    base: str
    too_long: Answer | None
    no_model: Answer | None
    no_key: Answer | None
    n: bool = True
    refuses: Callable[[Sent], Answer | None] = takes_all
    filtered: Answer | None = None
    finish: str | None = None
    message: Callable[[str], Sent] = says
    left_out: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    bodies: list[Sent] = field(default_factory=list)
    answered: list[Sent] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        """The engine's HTTP application."""
        path = urlsplit(self.base).path or "/v1"
        return Starlette(
            routes=[
                Route(f"{path}/chat/completions", self._chat, methods=["POST"]),
                Route(f"{path}/models", self._models),
            ]
        )

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _chat(self, request: Request) -> Response:
        sent = await request.json()
        self.bodies.append(sent)
        refusal = self._refusal(sent, request.headers.get("authorization"))
        if refusal is not None:
            status, body = refusal
            return JSONResponse(body, status)
        self.answered.append(sent)
        filtered = FORBIDDEN in sent["messages"][0]["content"] and self.finish
        text, finish = ("", self.finish) if filtered else ("It is fine.\nScore: 4", "stop")
        number = sent.get("n", 1) if self.n else 1
        choices = [{"index": i, "message": self.message(text), "finish_reason": finish} for i in range(number)]
        usage = {"prompt_tokens": 10, "completion_tokens": 5 * number, "total_tokens": 10 + 5 * number}
        # Gateways and providers with rolling models name another snapshot now and then.
        model = f"{MODEL}-{len(self.answered):03}"
        return JSONResponse({"object": "chat.completion", "model": model, "choices": choices, "usage": usage})

    def _refusal(self, sent: Sent, authorization: str | None) -> Answer | None:
        prompt = sent["messages"][0]["content"]
        if self.no_key and authorization != f"Bearer {KEY}":
            return self.no_key
        if self.no_model and sent["model"] != MODEL:
            return self.no_model
        if (refusal := self.refuses(sent)) is not None:
            return refusal
        if LONG in prompt and self.too_long:
            return self.too_long
        return self.filtered if FORBIDDEN in prompt else None


def _vllm_error(message: str, status: int, kind: str, param: str | None = None) -> Answer:
    return status, {"error": {"message": message, "type": kind, "param": param, "code": status}}


def _openai(sent: Sent) -> Answer | None:
    """A reasoning model."""
    if "max_tokens" in sent:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        return openai_error(message, param="max_tokens", code="unsupported_parameter")
    for name in ("temperature", "top_p"):
        if name in sent:
            message = f"Unsupported value: '{name}' does not support {sent[name]}. Only the default (1) is supported."
            return openai_error(message, param=name, code="unsupported_value")
    if "logprobs" in sent:
        message = "Unsupported parameter: 'logprobs' is not supported with this model."
        return openai_error(message, param="logprobs", code="unsupported_parameter")
    known = {"model", "messages", "n", "seed", "max_completion_tokens", "reasoning_effort"}
    for name in sent.keys() - known:
        return openai_error(f"Unrecognized request argument supplied: {name}")
    return None


def _gemini(sent: Sent) -> Answer | None:
    known = {"model", "messages", "n", "temperature", "top_p", "max_tokens", "reasoning_effort"}
    if unknown := sorted(sent.keys() - known):
        lines = [f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in unknown]
        violations = {"fieldViolations": [{"description": line} for line in lines]}
        return _gemini_error("\n".join(lines), details=[violations])
    if sent.get("n", 1) > 1:
        return _gemini_error("Multiple candidates is not enabled for this model")
    return None


def _gemini_error(message: str, status: int = 400, **fields: Any) -> Answer:
    return status, [{"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT", **fields}}]


def _anthropic(sent: Sent) -> Answer | None:
    if sent.get("n", 1) != 1:
        return _anthropic_error("n: Must be exactly 1")
    if {"temperature", "top_p"} <= sent.keys():
        return _anthropic_error(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        )
    return None


def _anthropic_error(message: str, status: int = 400, kind: str = "invalid_request_error") -> Answer:
    return status, {"error": {"code": kind, "message": message, "type": kind, "param": None}}


def _mistral(sent: Sent) -> Answer | None:
    known = {"model", "messages", "n", "temperature", "top_p", "max_tokens", "random_seed", "reasoning_effort"}
    unknown = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": sent[name]}
        for name in sent
        if name not in known
    ]
    return _mistral_error({"detail": unknown}, 422) if unknown else None


def _mistral_error(message: Any, status: int) -> Answer:
    body = {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": None}
    return status, body


def _magistral(text: str) -> Sent:
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    return {"role": "assistant", "content": [thoughts, {"type": "text", "text": text}]}


def _groq(sent: Sent) -> Answer | None:
    known = {"model", "messages", "n", "temperature", "top_p", "max_tokens", "seed", "reasoning_effort"}
    for name in sorted(sent.keys() - known):
        return openai_error(f"property '{name}' is unsupported")
    return openai_error("'n' : number must be at most 1") if sent.get("n", 1) > 1 else None


def _llama_cpp(sent: Sent) -> Answer | None:
    if sent.get("n", 1) > 1:
        return openai_error("Only one completion choice is allowed", code=400)
    return None


def _zhipu(code: str, message: str, status: int = 400) -> Answer:
    return status, {"error": {"code": code, "message": message}}


def _reasons(text: str) -> Sent:
    return {"role": "assistant", "content": text, "reasoning_content": "hm"}


def _openrouter(text: str) -> Sent:
    return {"role": "assistant", "content": text, "reasoning": "hm", "refusal": None}


def providers() -> list[Provider]:
    """One engine for each row of docs/engines.md."""
    context = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    openai_context = openai_error(context, param="messages", code="context_length_exceeded")
    openai_no_key = openai_error("Incorrect API key provided: k.", 401, code="invalid_api_key")
    openai_no_model = openai_error("The model `x` does not exist or you do not have access to it.", 404)
    return [
        Provider(
            "vLLM",
            "http://host:8000/v1",
            too_long=_vllm_error(context, 400, "BadRequestError", "input_tokens"),
            no_model=_vllm_error("The model `x` does not exist.", 404, "NotFoundError", "model"),
            no_key=(401, {"error": "Unauthorized"}),
            message=_reasons,
        ),
        Provider(
            "SGLang",
            "http://host:30000/v1",
            too_long=(
                400,
                {
                    "object": "error",
                    "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                },
            ),
            no_model=None,
            no_key=(401, {"error": "Unauthorized"}),
            message=_reasons,
        ),
        Provider(
            "llama.cpp server",
            "http://host:8080/v1",
            too_long=(
                400,
                {
                    "error": {
                        "code": 400,
                        "message": "the request exceeds the available context size, try increasing it",
                        "type": "exceed_context_size_error",
                        "n_prompt_tokens": 14429,
                        "n_ctx": 8192,
                    }
                },
            ),
            no_model=None,
            no_key=(401, {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}}),
            n=False,
            refuses=_llama_cpp,
            message=_reasons,
            left_out=frozenset({"n"}),
        ),
        Provider(
            "Ollama",
            "http://host:11434/v1",
            too_long=None,
            no_model=openai_error('model "x" not found, try pulling it first', 404, type="not_found_error"),
            no_key=None,
            n=False,
            message=lambda text: {"role": "assistant", "content": text, "reasoning": "hm"},
            left_out=frozenset({"n"}),
        ),
        Provider(
            "TGI",
            "http://host:8080/v1",
            too_long=(
                422,
                {
                    "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 6204",
                    "error_type": "validation",
                },
            ),
            no_model=None,
            no_key=None,
            n=False,
            left_out=frozenset({"n"}),
        ),
        Provider(
            "LM Studio",
            "http://host:1234/v1",
            too_long=(
                400,
                {
                    "error": "Trying to keep the first 5020 tokens when context the overflows. However, the model is "
                    "loaded with context length of only 4096 tokens, which is not enough."
                },
            ),
            no_model=None,
            no_key=None,
            n=False,
            left_out=frozenset({"n"}),
        ),
        Provider(
            "OpenAI",
            "https://api.openai.com/v1",
            too_long=openai_context,
            no_model=openai_no_model,
            no_key=openai_no_key,
            refuses=_openai,
            filtered=openai_error(
                "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
                code="invalid_prompt",
            ),
            left_out=frozenset({"max_tokens", "temperature", "top_p"}),
            added=frozenset({"max_completion_tokens"}),
        ),
        Provider(
            "Azure OpenAI",
            "https://host.openai.azure.com/openai/v1",
            too_long=openai_context,
            no_model=(404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
            no_key=(401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}}),
            filtered=openai_error(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                code="content_filter",
                innererror={"code": "ResponsibleAIPolicyViolation"},
            ),
        ),
        Provider(
            "Gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            too_long=_gemini_error(
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
            ),
            no_model=_gemini_error("models/x is not found for API version v1main", 404),
            no_key=_gemini_error("API key not valid. Please pass a valid API key."),
            n=False,
            refuses=_gemini,
            finish="content_filter",
            left_out=frozenset({"n", "seed"}),
        ),
        Provider(
            "Anthropic",
            "https://api.anthropic.com/v1",
            too_long=_anthropic_error("prompt is too long: 208310 tokens > 200000 maximum"),
            no_model=_anthropic_error("model: x", 404, "not_found_error"),
            no_key=_anthropic_error("invalid x-api-key", 401, "authentication_error"),
            n=False,
            refuses=_anthropic,
            left_out=frozenset({"n", "top_p"}),
        ),
        Provider(
            "Mistral",
            "https://api.mistral.ai/v1",
            too_long=_mistral_error(
                "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
                400,
            ),
            no_model=_mistral_error("Invalid model: x", 400),
            no_key=(401, {"detail": "Unauthorized"}),
            refuses=_mistral,
            message=_magistral,
            left_out=frozenset({"seed"}),
        ),
        Provider(
            "DeepSeek",
            "https://api.deepseek.com",
            too_long=openai_error(context),
            no_model=openai_error("Model Not Exist"),
            no_key=openai_error("Authentication Fails (no such user)", 401, type="authentication_error"),
            n=False,
            filtered=openai_error("Content Exists Risk"),
            message=_reasons,
            left_out=frozenset({"n"}),
        ),
        Provider(
            "Groq",
            "https://api.groq.com/openai/v1",
            too_long=openai_error(
                "Please reduce the length of the messages or completion.", code="context_length_exceeded"
            ),
            no_model=openai_no_model,
            no_key=openai_error("Invalid API Key", 401, code="invalid_api_key"),
            n=False,
            refuses=_groq,
            left_out=frozenset({"n"}),
        ),
        Provider(
            "Together",
            "https://api.together.xyz/v1",
            too_long=openai_error(
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000",
                422,
            ),
            no_model=openai_error("Unable to access model x", 404, code="model_not_available"),
            no_key=openai_error("Invalid API key provided", 401, code="invalid_api_key"),
        ),
        Provider(
            "Zhipu",
            "https://open.bigmodel.cn/api/paas/v4",
            too_long=_zhipu("1261", "Prompt 超长"),
            no_model=_zhipu("1211", "模型不存在"),
            no_key=_zhipu("1000", "身份验证失败", 401),
            n=False,
            filtered=_zhipu("1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"),
            message=_reasons,
            left_out=frozenset({"n"}),
        ),
        Provider(
            "OpenRouter",
            "https://openrouter.ai/api/v1",
            too_long=(200, {"error": {"code": 400, "message": f"This endpoint's {context}"}}),
            no_model=(400, {"error": {"code": 400, "message": "x is not a valid model ID"}}),
            no_key=(401, {"error": {"code": 401, "message": "User not found."}}),
            n=False,
            filtered=(403, {"error": {"code": 403, "message": "x requires moderation and your input was flagged"}}),
            message=_openrouter,
            left_out=frozenset({"n"}),
        ),
    ]
