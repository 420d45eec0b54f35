"""verl's custom reward: `custom_reward_function.path=examples/judge_from_verl/reward.py` (the name is `compute_score`).

The prompt is read from `extra_info["prompt"]`: put it there when you prepare the data. An answer without a score raises
`selfreward.adapters.Unscored`: verl knows no missing reward, and a made-up one would be learned from.
"""

from selfreward import JudgeClient
from selfreward.adapters import verl_score

client = JudgeClient()  # SELFREWARD_JUDGE_URL and SELFREWARD_API_KEY
compute_score = verl_score(client, prompt_key="prompt", rubric="countdown", votes=5)


if __name__ == "__main__":
    for text in ("7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 11"):
        print(f"{compute_score('countdown', text, None, {'prompt': 'Use 7 3 12 to make 33 .'}):.2f}  {text}")
