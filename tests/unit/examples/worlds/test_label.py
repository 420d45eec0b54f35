"""The independent examiner over artifacts: labels in the order of the answers, as the report reads them."""

import subprocess
import sys
from typing import Any

from selfreward.evaluation.report.inputs import load_run
from selfreward.store.artifacts import ArtifactStore
from tests.support.places import ROOT

ANSWERS = ["7 * 3 = 21 ; 21 + 12 = 33", "7 * 3 = 21", "<|nonsense|>", "7 + 3 = 10 ; 10 + 12 = 33"]


def _row(prompt_id: str, answers: list[str]) -> dict[str, Any]:
    return {
        "key": prompt_id,
        "run": "r",
        "stage": "M1",
        "prompt_id": prompt_id,
        "prompt": [{"role": "user", "content": "Use 7 3 12 to make 33 ."}],
        "policy_version": "policy@1",
        "responses": [{"text": answer} for answer in answers],
    }


def _label(root: str, run: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.worlds.label", "--artifacts", root, "--run", run]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_labels_of_every_answer_in_order(store_root: str) -> None:
    store = ArtifactStore(store_root)
    models = [{"name": name, "policy_version": "policy@1"} for name in ("M1", "M2")]
    store.write_json("runs/r/run.json", {"models": models})
    store.write_jsonl("runs/r/evaluation/M1/samples.jsonl", [_row("a", ANSWERS), _row("b", ANSWERS[::-1])])
    store.write_jsonl("runs/r/evaluation/M1/greedy.jsonl", [_row("a", ANSWERS[:1]), _row("b", ANSWERS[1:2])])
    pair = {
        "prompt": _row("a", [])["prompt"],
        "chosen": [{"role": "assistant", "content": ANSWERS[0]}],
        "rejected": [{"role": "assistant", "content": ANSWERS[2]}],
        "prompt_id": "a",
        "score_chosen": 4.0,
        "score_rejected": 3.0,
        "policy_version": "policy@1",
        "judge_version": "policy@1",
        "rubric": "countdown",
    }
    begun = [*pair["prompt"], {"role": "assistant", "content": " 7 * 3 = 21 ;"}]
    texts = {"chosen": " 21 + 12 = 33", "rejected": " 21 - 12 = 8 ;"}
    sides = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
    step = {**pair, **sides, "prompt": begun, "separator": " ;"}
    store.write_jsonl("runs/r/pairs/M2.jsonl", [{**pair, "kind": "judge"}, pair, step])
    ended = _label(store_root, "r")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "M1: 10 answers labelled\n2 pairs labelled\n"
    data = load_run(store, "r")
    assert data.pair_labels == {"M2": [(5.0, 0.0), (5.0, 3.0)]}
    [model] = data.models
    assert model.labels is not None
    scores = model.labels.samples["a"]
    assert scores[0] == 5
    assert scores[2] == 0
    assert all(0 < score < 5 for score in (scores[1], scores[3]))
    assert model.labels.samples["b"] == scores[::-1]
    assert model.labels.solved["samples"]["a"] == [True, False, False, False]
    assert model.labels.solved["greedy"] == {"a": [True], "b": [False]}


def test_an_unknown_run_is_named(store_root: str) -> None:
    ended = _label(store_root, "nosuch")
    assert ended.returncode == 1
    assert "runs/nosuch/run.json does not exist" in ended.stderr
