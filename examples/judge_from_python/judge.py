"""Judge and rank answers from Python, and distinguish a score from no score."""

from selfreward import JudgeClient, JudgeItem

PROMPT = "Use 7 3 12 to make 33 ."
ANSWERS = {"right": "7 * 3 = 21 ; 21 + 12 = 33", "wrong": "7 + 3 = 11"}


def main() -> None:
    """Judge each answer with five votes, and rank the answers."""
    items = [JudgeItem(id=name, prompt=PROMPT, response=answer) for name, answer in ANSWERS.items()]
    with JudgeClient() as client:  # SELFREWARD_JUDGE_URL and SELFREWARD_API_KEY
        judged = client.judge(items, rubric="countdown", votes=5, seed=1)
        (ranked,) = client.rank([(PROMPT, list(ANSWERS.values()))], rubric="countdown", votes=5, seed=1)
    print(f"judged by {judged.judge_version} with {judged.rubric}")
    for judgment in judged.data:
        votes = ", ".join("none" if vote.score is None else f"{vote.score:g}" for vote in judgment.votes)
        score = judgment.failure_reason if judgment.score is None else f"{judgment.score:.2f}"
        print(f"{judgment.id}: {score} (votes: {votes})")
    names = list(ANSWERS)
    print("best first:", ", ".join(names[place] for place in ranked.order))


if __name__ == "__main__":
    main()
