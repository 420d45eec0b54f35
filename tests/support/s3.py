"""A server of the S3 protocol on loopback (moto's), for artifacts in a bucket."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from selfreward.processes.child import free_port

BUCKET = "artifacts"
_STARTS_WITHIN = 120


@contextmanager
def s3_server(log: Path) -> Iterator[dict[str, str]]:
    """The environment that leads clients to a server with one empty bucket, `BUCKET`."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, stdout=stream, stderr=stream) as server,
    ):
        try:
            _make_bucket(url, server, log)
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            server.kill()


def _make_bucket(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while True:
        try:
            httpx.put(f"{url}/{BUCKET}", timeout=30).raise_for_status()
        except httpx.TransportError:
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        else:
            return
