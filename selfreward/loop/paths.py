"""The names of a run's artifacts, defined here alone."""


def weights(run: str, stage: str) -> str:
    """Artifact name of a stage's checkpoint."""
    return f"runs/{run}/weights/{stage}"


def data(run: str, name: str) -> str:
    """Artifact name of a JSON Lines file of the run's data."""
    return f"runs/{run}/data/{name}.jsonl"


def folder(run: str) -> str:
    """Folder of all artifacts of a run."""
    return f"runs/{run}"


def report(run: str, ending: str) -> str:
    """Artifact name of the report: `json`, `md` or `html`."""
    return f"runs/{run}/report.{ending}"


def export(run: str, stage: str) -> str:
    """Folder of a stage's exported pairs and their dataset card."""
    return f"runs/{run}/export/{stage}"


def record(run: str) -> str:
    """Artifact name of the run's record: recipe, models and journal."""
    return f"runs/{run}/run.json"


def prompts(run: str, stage: str) -> str:
    """Artifact name of the prompts that a stage answers."""
    return data(run, f"prompts-{stage}")


def rollouts(run: str, stage: str) -> str:
    """Artifact name of a stage's rollouts."""
    return f"runs/{run}/rollouts/{stage}.jsonl"


def evaluation(run: str, model: str, part: str) -> str:
    """Artifact name of a part of a model's evaluation: `samples`, `greedy` or `eft_eval`."""
    return f"runs/{run}/evaluation/{model}/{part}.jsonl"


def labels(run: str, model: str) -> str:
    """Artifact name of an independent checker's verdicts on a model's answers."""
    return f"runs/{run}/evaluation/{model}/labels.json"


def pair_labels(run: str) -> str:
    """Artifact name of an independent checker's scores of the pairs that trained each stage."""
    return f"runs/{run}/evaluation/pair_labels.json"


def rewards(run: str) -> str:
    """Artifact name of an independent checker's verdicts on the rewards of each stage of reinforcement learning."""
    return f"runs/{run}/evaluation/rewards.json"


def eft_record(run: str) -> str:
    """Artifact name of the counts of EFT building."""
    return f"runs/{run}/eft.json"


def revisions_record(run: str) -> str:
    """Artifact name of the counts of revised answers by outcome."""
    return f"runs/{run}/revisions.json"


def iteration(run: str, stage: str) -> str:
    """Artifact name of a round's record: its prompts by outcome, and its monitors."""
    return f"runs/{run}/iterations/{stage}.json"


def retention(run: str) -> str:
    """Artifact name of the list of removed weights and rollouts."""
    return f"runs/{run}/retention.json"


def pairs(run: str, stage: str) -> str:
    """Artifact name of the pairs that train a stage."""
    return f"runs/{run}/pairs/{stage}.jsonl"


def meta(run: str, stage: str) -> str:
    """Artifact name of a stage's meta-judged judgments."""
    return f"runs/{run}/meta/{stage}.jsonl"


def replay(run: str, stage: str) -> str:
    """Artifact name of the earlier rounds' pairs that a stage replays."""
    return data(run, f"replay-{stage}")


def logprobs(run: str, stage: str) -> str:
    """Artifact name of the log-probabilities of a round's answers under several models (`ResponseLogprobs`)."""
    return data(run, f"logprobs-{stage}")


def revisions(run: str) -> str:
    """Artifact name of the revised answers that train M1."""
    return data(run, "revisions")


def positives(run: str, stage: str) -> str:
    """Artifact name of the chosen answers that a stage trains on without the rejected ones."""
    return data(run, f"positives-{stage}")


def questions(run: str, stage: str) -> str:
    """Artifact name of the questions that a stage of reinforcement learning trains on."""
    return data(run, f"questions-{stage}")


def samples(run: str, stage: str) -> str:
    """Artifact name of the answers that a stage of reinforcement learning sampled, each with its reward."""
    return f"runs/{run}/samples/{stage}.jsonl"


def failures(run: str, stage: str, phase: str) -> str:
    """Artifact name of a phase's failed prompts, each with its last error."""
    return f"runs/{run}/failures/{stage}-{phase}.jsonl"
