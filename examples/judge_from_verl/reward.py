"""verl's custom reward: `custom_reward_function.path=examples/judge_from_verl/reward.py` (the name is `compute_score`).

`python examples/judge_from_verl/reward.py` tries it.
"""

import os
from typing import Any

import httpx

JUDGE = os.environ.get("SELFREWARD_JUDGE_URL", "http://127.0.0.1:8001")
KEY = os.environ.get("SELFREWARD_API_KEY")
RUBRIC = os.environ.get("JUDGE_RUBRIC", "countdown")


def compute_score(
    data_source: str, solution_str: str, ground_truth: str | None, extra_info: dict[str, Any] | None = None
) -> float:
    """The judge's mean score. The prompt is `extra_info["prompt"]`: add it to your rows.

    Raises httpx.HTTPStatusError when the answer has no score: verl knows no missing reward, and a made-up one would
    be learned from.
    """
    if extra_info is None or "prompt" not in extra_info:
        raise ValueError(f"extra_info = {extra_info!r} has no 'prompt': add it to the rows of {data_source!r}")
    answer = httpx.post(
        f"{JUDGE}/compat/slime",
        params={"rubric": RUBRIC, "votes": 5},
        headers={"Authorization": f"Bearer {KEY}"} if KEY else {},
        json={"prompt": extra_info["prompt"], "response": solution_str, "label": ground_truth},
        timeout=600,
    )
    return float(answer.raise_for_status().json())


if __name__ == "__main__":
    for text in ("7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 11"):
        print(f"{compute_score('countdown', text, None, {'prompt': 'Use 7 3 12 to make 33 .'}):.2f}  {text}")
