"""Blocking client of the orchestrator's HTTP API, for the command line and scripts."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx

from selfreward.client.http import ServiceError, message_of
from selfreward.recipe.recipe import Recipe

_TERMINAL = {"done", "failed", "stopped", "paused", "rolled_back"}


class OrchestratorClient:
    """Start, follow, stop and export runs. Raises ServiceError with the service's own message."""

    def __init__(self, base_url: str, api_key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=60, transport=transport)

    def __enter__(self) -> "OrchestratorClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **kwargs)
        except httpx.TransportError as error:
            raise ServiceError(
                f"no orchestrator answers at {self._http.base_url}: {error}; start one with `make up` "
                "or set SELFREWARD_ORCHESTRATOR_URL"
            ) from error
        if not response.is_success:
            raise ServiceError(_message(response), response.status_code)
        return response

    def start(self, recipe: Recipe, run: str | None = None) -> dict[str, Any]:
        """Submit a recipe; the same run id and recipe again returns the run that exists."""
        body = {"recipe": recipe.model_dump(mode="json"), **({"run": run} if run else {})}
        return dict(self._call("POST", "/v1/runs", json=body).json())

    def runs(self) -> list[dict[str, Any]]:
        """All known runs, newest first."""
        rows: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self._call("GET", "/v1/runs", params={"limit": 1000, **after}).json()
            rows += page["data"]
            if not page.get("next"):
                return rows
            after = {"after": page["next"]}

    def delete(self, run: str) -> None:
        """Delete the record of a run that has ended; its artifacts stay."""
        self._call("DELETE", f"/v1/runs/{run}")

    def run(self, run: str) -> dict[str, Any]:
        """State of one run."""
        return dict(self._call("GET", f"/v1/runs/{run}").json())

    def stop(self, run: str) -> dict[str, Any]:
        """Ask a run to stop after what is in hand; `resume` continues it."""
        return dict(self._call("POST", f"/v1/runs/{run}/stop").json())

    def resume(self, run: str) -> dict[str, Any]:
        """Continue a stopped or failed run where it was."""
        return dict(self._call("POST", f"/v1/runs/{run}/resume").json())

    def export(self, run: str, stage: str, layout: str = "pairs") -> bytes:
        """Preference data that trained `stage`, as JSON Lines in TRL's conversational format.

        `layout` `kto` gives single answers with a label.
        """
        return self._call("GET", f"/v1/runs/{run}/export", params={"stage": stage, "layout": layout}).content

    def events(self, run: str, patience: float = 120.0) -> Iterator[dict[str, Any]]:
        """Progress events from the first to the terminal one, over reconnects (server-sent events).

        Raises ServiceError when the orchestrator stays away for `patience` seconds.
        """
        resume_at, last_seen = "0", time.monotonic()
        while True:
            try:
                for event_id, event in self._stream(run, resume_at):
                    resume_at, last_seen = event_id, time.monotonic()
                    yield event
                    if event.get("state") in _TERMINAL:
                        return
            except httpx.TransportError as error:
                if time.monotonic() - last_seen > patience:
                    raise ServiceError(f"lost the orchestrator at {self._http.base_url}: {error}") from error
            time.sleep(0.5)

    def _stream(self, run: str, last_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"Last-Event-ID": last_id, "Accept": "text/event-stream"}
        timeout = httpx.Timeout(10, read=60)
        with self._http.stream("GET", f"/v1/runs/{run}/events", headers=headers, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise ServiceError(_message(response), response.status_code)
            for line in response.iter_lines():
                name, _, value = line.partition(":")
                if name == "id":
                    last_id = value.strip()
                elif name == "data":
                    yield last_id, json.loads(value)


def _message(response: httpx.Response) -> str:
    return f"HTTP {response.status_code}: {message_of(response)}"
