"""Keys files and the headers that keys are sent in."""

import hashlib
from pathlib import Path


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def keys_file(folder: Path, **entries: str) -> Path:
    """A keys file with, for each name, a key that is the name itself and further lines of TOML."""
    path = folder / "keys.toml"
    path.write_text("\n".join(f'[[keys]]\nname = "{n}"\nsha256 = "{sha256(n)}"\n{more}' for n, more in entries.items()))
    return path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
