"""A reward function for TRL's GRPOTrainer: `GRPOTrainer(reward_funcs=judge_reward, ...)`."""

from selfreward import JudgeClient
from selfreward.integrations.trl import trl_reward

client = JudgeClient()  # SELFREWARD_JUDGE_URL and SELFREWARD_API_KEY
judge_reward = trl_reward(client, rubric="countdown", votes=5)


if __name__ == "__main__":
    answers = ["7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 11"]
    print(judge_reward(prompts=["Use 7 3 12 to make 33 ."] * 2, completions=answers))
