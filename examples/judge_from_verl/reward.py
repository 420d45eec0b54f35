"""verl's custom reward: `custom_reward_function.path=examples/judge_from_verl/reward.py` (the name is `compute_score`).

The prompt is read from `extra_info["prompt"]`: put it there when you prepare the data. An answer without a score raises
`selfreward.integrations.verl.Unscored`: verl knows no missing reward, and a made-up one would be learned from.
"""

from typing import Any

from selfreward import JudgeClient
from selfreward.integrations.verl import verl_score

client = JudgeClient()  # SELFREWARD_JUDGE_URL and SELFREWARD_API_KEY
_score = verl_score(client, prompt_key="prompt", rubric="countdown", votes=5)


def compute_score(
    data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **more: Any
) -> float:
    """The judge's mean score of an answer. Raises Unscored when it has none."""
    # Reward managers with several processes pickle this function, which only its name in a module allows.
    return _score(data_source, solution_str, ground_truth, extra_info, **more)


if __name__ == "__main__":
    for text in ("7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 11"):
        print(f"{compute_score('countdown', text, None, {'prompt': 'Use 7 3 12 to make 33 .'}):.2f}  {text}")
