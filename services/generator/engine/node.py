"""`python -m services.generator.engine.node`: the later nodes of an engine that spans several machines.

The process becomes vLLM's headless one, whose GPUs belong to the engine on the first node, and ends with that engine.
Whoever runs the nodes then starts all of them again.
"""

import os

from selfreward.server.main import prepare
from selfreward.server.startup import StartRefused
from services.generator.engine.process import engine_environment, node_command
from services.generator.settings import GeneratorSettings


def check_nodes(settings: GeneratorSettings) -> None:
    """Raise StartRefused for settings with which the nodes of an engine cannot start together."""
    nodes, rank = settings.engine_nodes, settings.engine_node_rank
    if nodes > 1 and settings.engine == "cpu":
        # vLLM's build for CPUs has no headless process: its command does not start under its package's name.
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


def check_later_node(settings: GeneratorSettings) -> None:
    """Raise StartRefused for any node but the later ones."""
    check_nodes(settings)
    if settings.engine_node_rank == 0:
        raise StartRefused("SELFREWARD_ENGINE_NODE_RANK=0 is the node that serves: run `python -m services.generator`")


def main() -> None:
    """Become this node's part of the engine."""
    settings, _ = prepare(GeneratorSettings, check_later_node)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(settings.work_dir)
    command = node_command(settings)
    # The sockets may lie in the working directory itself: the pod has no other process, and ends with this one.
    environment = engine_environment(settings, os.environ, ".")
    os.execve(command[0], command, environment)  # noqa: S606 - a list that is built here


if __name__ == "__main__":
    main()
