"""verl's custom reward: `custom_reward_function.path=examples/judge_from_verl/reward.py` (the name is `compute_score`).

The prompt is read from `extra_info["prompt"]`: put it there when you prepare the data. An answer without a score gets
NaN, for which verl skips an update, because a made-up reward would be learned from.
"""

from typing import Any

from selfreward import JudgeClient
from selfreward.integrations.verl import verl_score

client = JudgeClient()  # SELFREWARD_JUDGE_URL and SELFREWARD_API_KEY
_score = verl_score(client, prompt_key="prompt", rubric="countdown", votes=5)


def compute_score(
    data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **more: Any
) -> float:
    """The judge's mean score of an answer; NaN when there is no score."""
    # A named function of a module, because reward managers with several processes pickle it.
    return _score(data_source, solution_str, ground_truth, extra_info, **more)


if __name__ == "__main__":
    for text in ("7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 11"):
        print(f"{compute_score('countdown', text, None, {'prompt': 'Use 7 3 12 to make 33 .'}):.2f}  {text}")
