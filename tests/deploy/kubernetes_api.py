"""The part of a Kubernetes API server that the orchestrator speaks to, in memory: the one double that no cluster needs.

It refuses what an API server refuses: bodies against the published schema, names that are taken, missing objects and,
by `denied`, missing rights.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from kubernetes import client

from tests.deploy.schemas import ValidationError, check
from tests.support.places import ROOT

NAMESPACE = "selfreward"
K8S = ROOT / "k8s"
TEMPLATES = (K8S / "base" / "trainer.yaml", K8S / "components" / "multinode" / "runtime.yaml")


@dataclass
class Cluster:
    """What the API server holds, by path below the namespace, and what it was asked to do."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    failing: int = 0
    """So many of the next calls are answered 503."""
    rejecting: str = ""
    """Why new objects are refused, as an admission webhook does."""
    port: int = 0

    def api(self) -> "client.ApiClient":
        """The official client, pointed here."""
        configuration = client.Configuration(host=f"http://127.0.0.1:{self.port}")
        configuration.retries = False
        return client.ApiClient(configuration)

    def end(self, name: str, condition: str, reason: str = "") -> None:
        """Have a Job or a TrainJob end, as its controller notes it."""
        ended = {"type": condition, "status": "True", "reason": reason, "message": f"it was {condition.lower()}"}
        (found,) = [held for path, held in self.objects.items() if path.endswith(f"jobs/{name}")]
        found["status"] = {"conditions": [ended]}

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """Status and body of one call; `path` is what follows the namespace."""
        self.calls.append((method, path))
        if self.failing:
            self.failing -= 1
            return 503, {"kind": "Status", "reason": "ServiceUnavailable"}
        if method in self.denied:
            return 403, {"kind": "Status", "reason": "Forbidden", "message": f"cannot {method} {path}"}
        if method == "POST" and body is not None:
            return self._make(body)
        if path not in self.objects:
            return 404, {"kind": "Status", "reason": "NotFound", "message": f"{path} not found"}
        found = self.objects[path]
        if method == "DELETE":
            wanted = ((body or {}).get("preconditions") or {}).get("uid")
            if wanted not in (None, found["metadata"]["uid"]):
                return 409, {"kind": "Status", "reason": "Conflict"}
            del self.objects[path]
        return 200, found

    def _make(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            check(body)
        except ValidationError as error:
            return 422, {"kind": "Status", "reason": "Invalid", "message": error.message}
        if self.rejecting:
            return 422, {"kind": "Status", "reason": "Invalid", "message": self.rejecting}
        path = f"{body['kind'].lower()}s/{body['metadata']['name']}"
        if path in self.objects:
            return 409, {"kind": "Status", "reason": "AlreadyExists"}
        self.made.append(json.loads(json.dumps(body)))
        body["metadata"]["uid"] = f"uid-{len(self.made)}"
        body["status"] = {}
        self.objects[path] = body
        return 201, body


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A listening API server that holds the templates of training jobs: a CronJob and a TrainingRuntime."""
    held = Cluster()
    for file in TEMPLATES:
        (template,) = yaml.safe_load_all(file.read_text())
        held.objects[f"{template['kind'].lower()}s/{template['metadata']['name']}"] = template

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            _, _, path = self.path.partition("?")[0].partition(f"/namespaces/{NAMESPACE}/")
            status, answer = held.answer(self.command, path, body)
            sent = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            """Nothing: the calls are kept."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        held.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield held
        server.shutdown()
