"""Send the requests of OpenRLHF's `--reward.remote_url`, and print the answers."""

import os

import httpx

JUDGE = os.environ.get("SELFREWARD_JUDGE_URL", "http://127.0.0.1:8001")
KEY = os.environ.get("SELFREWARD_API_KEY")
PROMPT = "<|im_start|>user\nUse 7 3 12 to make 33 .<|im_end|>\n<|im_start|>assistant\n"
ANSWERS = ["7 * 3 = 21 ; 21 + 12 = 33<|im_end|>", "7 + 3 = 11<|im_end|>"]


def main() -> None:
    """Print reward and score of each answer. OpenRLHF sends answers one by one, as here."""
    for response in ANSWERS:
        answer = httpx.post(
            f"{JUDGE}/get_reward",
            params={"rubric": "countdown", "votes": 5},
            headers={"Authorization": f"Bearer {KEY}"} if KEY else {},
            json={"query": [PROMPT + response], "prompts": [PROMPT], "labels": [""]},
            timeout=180,
        )
        body = answer.raise_for_status().json()
        print(f"{body['rewards'][0]:.2f}  {body['scores'][0]:.2f}  {response}")


if __name__ == "__main__":
    main()
