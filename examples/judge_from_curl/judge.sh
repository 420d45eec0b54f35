#!/bin/sh
# Judge two answers, then the same through the contracts that other tools speak. Needs curl alone.
set -eu
judge=${SELFREWARD_JUDGE_URL:-http://127.0.0.1:8001}

post() {
  echo "== POST $1"
  curl --silent --show-error --fail-with-body "$judge$1" -H 'content-type: application/json' \
    ${SELFREWARD_API_KEY:+-H "Authorization: Bearer $SELFREWARD_API_KEY"} -d "$2"
  echo
}

post /v1/judge '{"rubric": "countdown", "votes": 5, "seed": 1, "items": [
  {"id": "right", "prompt": "Use 7 3 12 to make 33 .", "response": "7 * 3 = 21 ; 21 + 12 = 33"},
  {"id": "wrong", "prompt": "Use 7 3 12 to make 33 .", "response": "7 + 3 = 11"}]}'
post '/score?votes=5' '{"model": "countdown", "text_1": "Use 7 3 12 to make 33 .",
  "text_2": ["7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 11"]}'
post '/rerank?votes=5' '{"model": "countdown", "query": "Use 7 3 12 to make 33 .",
  "documents": ["7 + 3 = 11", "7 * 3 = 21 ; 21 + 12 = 33"]}'
