"""What a build needs where no registry can be reached: stand-ins for the base images, made of Debian packages, and this
machine's own folder of wheels.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from threading import Thread

from tests.harness.compose.stack import docker

STANDINS = Path(__file__).with_name("standins")
BASES = {"python:3.11-slim": "python.Dockerfile", "redis:7-bookworm": "redis.Dockerfile"}
"""What the images and the compose file build on, and what makes its stand-in."""
_DEBIAN = "debian:bookworm-slim"
_OWN_CERTIFICATES = Path("usr/local/share/ca-certificates")
_DOCUMENTS = tuple(f"usr/share/{name}/*" for name in ("doc", "man", "locale", "info"))
"""What Debian's own slim image leaves out too, so that sizes can be compared."""
_LEFTOVERS = ("var/cache/apt/*", "var/lib/apt/lists/*")
_KEEPS_NOTHING = """\
APT::Keep-Downloaded-Packages "false";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
"""Of apt, as in Debian's own image: what it leaves behind would count to the size of every image."""
_PORT = 18931
"""Where wheels are served if it is free: the address is an argument of the builds, and another one builds all anew."""
_PULL_S, _MAKE_S = 120, 1800


def ensure_bases() -> None:
    """Have every base image: the one here, its registry's, or a stand-in. Ends the process where none can be."""
    missing = [image for image in BASES if not (_is_here(image) or _pulled(image))]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        sys.exit(
            f"no registry gives {missing}: load them, or be root and `apt-get install debootstrap` to make stand-ins"
        )
    print(f"no registry gives {missing}: making stand-ins of Debian packages", flush=True)
    if not _is_here(_DEBIAN):
        _import_debian()
    for image in missing:
        docker("build", "--quiet", "--tag", image, "--file", str(STANDINS / BASES[image]), str(STANDINS))


@contextmanager
def reachable_wheels() -> Iterator[dict[str, str]]:
    """Environment for a build in which `PIP_FIND_LINKS`, where it names a folder here, is one that containers reach."""
    folder = Path(os.environ.get("PIP_FIND_LINKS", ""))
    if folder == Path() or not folder.is_dir():
        yield {}
        return
    host = host_address(json.loads(docker("network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}")))
    with _server(host, partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield {"PIP_FIND_LINKS": f"http://{host}:{server.server_port}/", "PIP_TRUSTED_HOST": host}
        server.shutdown()


def host_address(networks: Sequence[Mapping[str, str]]) -> str:
    """The address at which containers of a bridge reach this machine, by what Docker says of the bridge's networks.

    An engine that has just made its bridge names no gateway until it is started again; it is the first address.
    """
    return networks[0].get("Gateway") or str(next(ip_network(networks[0]["Subnet"]).hosts()))


def _server(host: str, handler: Callable[..., SimpleHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((host, _PORT), handler)
    except OSError:
        return ThreadingHTTPServer((host, 0), handler)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: the build says what it fetched."""


def _is_here(image: str) -> bool:
    return _status("docker", "image", "inspect", "--format", "{{.Id}}", image) == 0


def _pulled(image: str) -> bool:
    try:
        return _status("docker", "pull", "--quiet", image) == 0
    except subprocess.TimeoutExpired:
        return False


def _status(*command: str) -> int:
    return subprocess.run(command, timeout=_PULL_S).returncode


def _import_debian() -> None:
    """Debian's smallest system as an image, from the mirror and with the certificates that this machine has."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        _make("debootstrap", "--variant=minbase", "--include=ca-certificates,netbase", "bookworm", root, *_mirror())
        for certificate in Path("/", _OWN_CERTIFICATES).glob("*.crt"):
            shutil.copy(certificate, root / _OWN_CERTIFICATES)
        _make("chroot", root, "update-ca-certificates")
        excluded = "".join(f"path-exclude=/{path}\n" for path in _DOCUMENTS)
        (root / "etc" / "dpkg" / "dpkg.cfg.d" / "slim").write_text(excluded)
        (root / "etc" / "apt" / "apt.conf.d" / "slim").write_text(_KEEPS_NOTHING)
        starts_nothing = root / "usr" / "sbin" / "policy-rc.d"
        starts_nothing.write_text("#!/bin/sh\nexit 101\n")
        starts_nothing.chmod(0o755)
        packed = Path(scratch) / "debian.tar"
        _make("tar", *(f"--exclude=./{path}" for path in (*_DOCUMENTS, *_LEFTOVERS)), "-C", root, "-cf", packed, ".")
        _make("docker", "import", packed, _DEBIAN)


def _make(*command: str | Path) -> None:
    subprocess.run(command, timeout=_MAKE_S, check=True)


def _mirror() -> list[str]:
    """The Debian mirror of this machine; none, which is debootstrap's own choice, where it names none."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    lines = sources.read_text().splitlines() if sources.is_file() else []
    return [line.split()[1] for line in lines if line.startswith("URIs:")][:1]
