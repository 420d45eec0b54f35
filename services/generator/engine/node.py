"""`python -m services.generator.engine.node`: the GPUs of one machine, lent to an engine that another's replica serves.

It becomes vLLM's own headless process, which ends with the engine of the first node; whoever runs the nodes starts all
of them again then.
"""

import os

from selfreward.server.main import prepare
from selfreward.server.startup import StartRefused
from services.generator.engine.process import engine_environment, node_command
from services.generator.settings import GeneratorSettings


def check_nodes(settings: GeneratorSettings) -> None:
    """Raise StartRefused where the nodes of an engine cannot start alike."""
    nodes, rank = settings.engine_nodes, settings.engine_node_rank
    if nodes > 1 and settings.engine == "cpu":
        # The CPU's build has no headless process: its command does not start under its package's name.
        raise StartRefused(
            f"SELFREWARD_ENGINE_NODES={nodes} with SELFREWARD_ENGINE=cpu: engines over nodes need GPUs; take the image "
            "for them, or leave it out"
        )
    if nodes > 1 and settings.model is None:
        raise StartRefused(
            f"SELFREWARD_ENGINE_NODES={nodes} without SELFREWARD_MODEL: name the folder that all nodes start on"
        )
    if rank >= nodes:
        raise StartRefused(
            f"SELFREWARD_ENGINE_NODE_RANK={rank} with SELFREWARD_ENGINE_NODES={nodes}: ranks are 0 to {nodes - 1}"
        )


def check_lends(settings: GeneratorSettings) -> None:
    """Raise StartRefused for what is not one of the later nodes."""
    check_nodes(settings)
    if settings.engine_node_rank == 0:
        raise StartRefused("SELFREWARD_ENGINE_NODE_RANK=0 is the node that serves: run `python -m services.generator`")


def main() -> None:
    """Become the node's part of the engine."""
    settings, _ = prepare(GeneratorSettings, check_lends)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(settings.work_dir)
    command = node_command(settings)
    # Its sockets may lie in the working directory itself: the pod that it ends with has no other process.
    environment = engine_environment(settings, os.environ, ".")
    os.execve(command[0], command, environment)  # noqa: S606 - a list that is built here


if __name__ == "__main__":
    main()
