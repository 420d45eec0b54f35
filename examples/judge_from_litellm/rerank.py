"""Rerank answers through LiteLLM, for which the judge is a vLLM server."""

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise the import downloads a price list

import litellm

JUDGE = os.environ.get("SELFREWARD_JUDGE_URL", "http://127.0.0.1:8001")
PROMPT = "Use 7 3 12 to make 33 ."
ANSWERS = ["7 + 3 = 11", "7 * 3 = 21 ; 21 + 12 = 33"]


def main() -> None:
    """Print the answers, best first. The name of the model is that of the rubric."""
    ranked = litellm.rerank(
        model="hosted_vllm/countdown",
        query=PROMPT,
        documents=ANSWERS,
        api_base=JUDGE,
        api_key=os.environ.get("SELFREWARD_API_KEY"),
    )
    for result in ranked["results"]:
        print(f"{result['relevance_score']:.2f}  {ANSWERS[result['index']]}")


if __name__ == "__main__":
    main()
