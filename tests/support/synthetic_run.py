"""A run as the orchestrator leaves it, without a loop: rollouts, labels, rounds and pairs with known properties."""

from typing import Any

import numpy as np

from selfreward.store.artifacts import ArtifactStore

RUN = "synthetic"
MODELS = {"M0": 0.20, "SFT": 0.30, "M1": 0.32, "M2": 0.45, "M3": 0.52}
"""Share of prompts' answers that each synthetic model solves. M0 judges nothing."""
NOISE = {"SFT": 2.5, "M1": 1.0, "M2": 0.9, "M3": 0.9}
"""Standard deviation of each synthetic judge's votes around the truth."""
HOSTILE = '<script>alert("x")</script> & | pipe'


def _votes(rng: np.random.Generator, truth: float, noise: float) -> dict[str, Any]:
    votes: list[dict[str, Any]] = []
    for _ in range(3):
        if rng.random() < 0.03:
            votes.append({"score": None, "status": "unparsed", "text": HOSTILE})
        else:
            score = float(np.clip(round(truth + rng.normal(0, noise)), 0, 5))
            votes.append({"score": score, "status": "ok", "text": f"checks done . Score: {score:.0f}"})
    valid = [vote["score"] for vote in votes if vote["score"] is not None]
    return {
        "score": sum(valid) / len(valid) if valid else None,
        "status": "ok" if len(valid) == 3 else "partial" if valid else "unscored",
        "votes": votes,
        "valid_votes": len(valid),
    }


def _rollout(
    stage: str, prompt_id: str, prompt: str, texts: list[str], judgments: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "key": f"{stage}-{prompt_id}",
        "run": RUN,
        "stage": stage,
        "prompt_id": prompt_id,
        "prompt": [{"role": "user", "content": prompt}],
        "policy_version": f"policy@{list(MODELS).index(stage)}",
        "responses": [{"text": text, "finish_reason": "stop", "tokens": len(text) // 3} for text in texts],
        "judgments": [{"id": str(i), "index": i, **judgment} for i, judgment in enumerate(judgments)],
    }


def _answers(rng: np.random.Generator, rate: float, count: int) -> tuple[list[str], list[int]]:
    scores = [5 if rng.random() < rate else int(rng.integers(1, 5)) for _ in range(count)]
    return [f"7 * 3 = 21 ; 21 + 12 = {28 + score}" + " ; " * int(rng.integers(0, 3)) for score in scores], scores


def write_run(store: ArtifactStore, prompts: int = 120, judged: int = 60, labelled: bool = True) -> None:
    """A run as the orchestrator leaves it, with five models that get better and judges that vote around the truth."""
    rng = np.random.default_rng(11)
    base = f"runs/{RUN}"
    recipe = {"name": "synthetic", "seed": 5, "sampling": {"n": 4, "temperature": 0.7, "top_p": 0.9}}
    models = [{"name": name, "policy_version": f"policy@{i}", "digest": "d" * 64} for i, name in enumerate(MODELS)]
    store.write_json(
        f"{base}/run.json", {"recipe": recipe, "recipe_hash": "abc123", "models": models, "commit": "f" * 40}
    )
    ranked: list[dict[str, Any]] = [
        {
            "prompt_id": f"e{i:04}",
            "prompt": f"Use 1 2 {i} to make 9 .",
            "responses": [{"text": f"answer {rank}", "rank": rank} for rank in (2, 1, 3)],
        }
        for i in range(judged)
    ]
    store.write_jsonl(f"{base}/data/eft_eval.jsonl", ranked)
    problems = [(f"p{i:04}", f"Use 7 3 {i} to make 33 .") for i in range(prompts)]
    for name, rate in MODELS.items():
        samples, greedy, labels, solved = [], [], {}, {}
        greedy_labels, greedy_solved = {}, {}
        for index, (prompt_id, prompt) in enumerate(problems):
            texts, scores = _answers(rng, rate, 4)
            if index == 0:
                texts[0] = HOSTILE
            judging = name in NOISE and index < judged
            judgments = [_votes(rng, score, NOISE[name]) for score in scores] if judging else []
            samples.append(_rollout(name, prompt_id, prompt, texts, judgments))
            labels[prompt_id], solved[prompt_id] = scores, [score == 5 for score in scores]
            texts, scores = _answers(rng, rate + 0.05, 1)
            greedy.append(_rollout(name, prompt_id, prompt, texts, []))
            greedy_labels[prompt_id], greedy_solved[prompt_id] = scores, [score == 5 for score in scores]
        fixed = [
            _rollout(
                name,
                row["prompt_id"],
                row["prompt"],
                [response["text"] for response in row["responses"]],
                [_votes(rng, 6.5 - 1.5 * response["rank"], NOISE[name]) for response in row["responses"]],
            )
            for row in ranked
            if name in NOISE
        ]
        folder = f"{base}/evaluation/{name}"
        # Files need not be in one order: workers finish as they finish.
        rng.shuffle(samples)
        for file, rows in (("samples", samples), ("greedy", greedy), ("eft_eval", fixed)):
            if rows:
                store.write_jsonl(f"{folder}/{file}.jsonl", rows)
        if labelled:
            both = {"samples": solved, "greedy": greedy_solved}
            store.write_json(f"{folder}/labels.json", {"samples": labels, "greedy": greedy_labels, "solved": both})
    for stage, gap in (("M2", 1.4), ("M3", 0.9)):
        _write_round(store, stage, gap, rng)
    if labelled:
        pair_labels = {stage: [(5, 3)] * 49 + [(4, 4)] * 14 + [(2, 3)] * 7 for stage in ("M2", "M3")}
        store.write_json(f"{base}/evaluation/pair_labels.json", pair_labels)


def _write_round(store: ArtifactStore, stage: str, gap: float, rng: np.random.Generator) -> None:
    entry = {
        "stage": stage,
        "prompts": 100,
        "pairs": 70,
        "ties": 25,
        "unscored": 12,
        "chosen_rejected_gap": gap,
        "score_histogram": {"0": 3, "1": 10, "2": 20, "3": 40, "4": 80, "5": 120},
        "seconds": {"rollout": 90.0, "train": 60.0, "reload": 2.0, "evaluate": 45.0},
    }
    store.write_json(f"runs/{RUN}/iterations/{stage}.json", entry)
    pairs = [
        {
            "prompt": [{"role": "user", "content": "Use 1 2 to make 3 ."}],
            "chosen": [{"role": "assistant", "content": "1 + 2 = 3"}],
            "rejected": [{"role": "assistant", "content": "1 + 2 = 3 ; 3 + 1 = 4"}],
            "kind": kind,
            "prompt_id": f"q{index}",
            "score_chosen": 5.0 if kind == "actor" else 2.0,
            "score_rejected": 5.0 - gap - float(rng.random()) / 10 if kind == "actor" else 1.0,
            "policy_version": "policy@1",
            "judge_version": "policy@1",
            "rubric": "countdown@sha256:0",
        }
        for index, kind in enumerate(["actor"] * 70 + ["judge"] * 30)
    ]
    store.write_jsonl(f"runs/{RUN}/pairs/{stage}.jsonl", pairs)
