"""Pretrain M0, the demo world's base model: ``python -m examples.worlds.countdown.pretrain --out DIR``.

A small Llama learns single-turn conversations with loss on the assistant's words only. The rate rises,
stays, and falls to nothing over the last part of the run. The folder written loads with transformers
and vLLM; ``pretrain.json`` in it says how it was made.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from examples.worlds.countdown import pretraining_text
from examples.worlds.countdown.muon import Muon
from examples.worlds.countdown.tokenizer import CONTEXT_LENGTH, build_tokenizer

WARMUP_STEPS: Final = 100
MICRO_BATCHES: Final = 3
Row = tuple[str, list[int], int]


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of 1.1 M parameters (4.3 MB in fp32)."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)  # type: ignore[no-untyped-call]


def encode(tokenizer: PreTrainedTokenizerFast, example: pretraining_text.Example) -> Row:
    """(kind, token ids, index of the first assistant token), framed as the chat template frames it."""
    user = tokenizer.encode(f"<|user|>{example.user}<|assistant|>")
    assistant = tokenizer.encode(f"{example.assistant}<|eos|>")
    return example.kind, user + assistant, len(user)


def batch_loss(model: LlamaForCausalLM, rows: list[Row]) -> Tensor:
    """Cross-entropy per assistant token, in the order of the rows; shape [tokens]."""
    width = max(len(ids) for _, ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    learn = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (_, row, start) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        learn[i, start : len(row)] = True
    # Padding is on the right and attention is causal, so no attention mask is needed.
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[learn[:, 1:]])
    return cross_entropy(logits.float(), ids[learn], reduction="none")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write weights, config, tokenizer, chat template and generation config into a folder."""
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.7,
        top_p=0.9,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def rate(step: int, steps: int, peak: float, decay_share: float) -> float:
    """The learning rate: linear warm-up, a plateau, linear decay over the last share of steps."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return peak * warm * min(1.0, (steps - step) / (steps * decay_share))


def provenance(init: Path | None) -> dict[str, Any] | None:
    """How the weights in a folder were made, without their losses, so that the record goes back to an untrained model.

    None for no folder.
    """
    if init is None:
        return None
    record: dict[str, Any] = json.loads((init / "pretrain.json").read_text())
    return {key: value for key, value in record.items() if key != "losses"}


def main() -> None:
    """Train and write M0; prints one line of losses per hundred steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128, help="conversations per step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--decay", type=float, default=0.4, help="share of steps in the decay")
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--init", type=Path, help="start from this folder's weights")
    args = parser.parse_args()

    # Model, optimisers and data.
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer()
    model = LlamaForCausalLM.from_pretrained(args.init) if args.init else build_model(tokenizer)
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = Muon(inner)
    adam = torch.optim.AdamW(rest, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0)
    stream = pretraining_text.examples(args.seed)
    started, history = time.monotonic(), []
    sums: dict[str, list[float]] = defaultdict(list)
    # Train: gradients of micro-batches, one optimiser step, the mean loss of each kind.
    for step in range(args.steps):
        learning_rate = rate(step, args.steps, args.rate, args.decay)
        rows = sorted((encode(tokenizer, e) for e in islice(stream, args.batch)), key=lambda row: len(row[1]))
        tokens = sum(len(ids) - start for _, ids, start in rows)
        # Micro-batches of similar length waste little on padding.
        size = -(-len(rows) // MICRO_BATCHES)
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            losses = batch_loss(model, part)
            (losses.sum() / tokens).backward()  # type: ignore[no-untyped-call]
            counts = [len(ids) - start for _, ids, start in part]
            for (kind, _, _), row_losses in zip(part, torch.split(losses.detach(), counts), strict=True):
                sums[kind].append(float(row_losses.mean()))
        adam.param_groups[0]["lr"] = learning_rate
        muon.step(learning_rate)
        adam.step()
        model.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            means = {kind: round(sum(v) / len(v), 4) for kind, v in sorted(sums.items())}
            sums.clear()
            seconds = round(time.monotonic() - started)
            history.append({"step": step + 1, "seconds": seconds, **means})
            print(json.dumps(history[-1]), flush=True)
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            save(model, tokenizer, args.out)
    # Record how the model was made.
    record = {
        "command": f"python -m examples.worlds.countdown.pretrain {' '.join(sys.argv[1:])}",
        "seed": args.seed,
        "steps": args.steps,
        "conversations": args.steps * args.batch,
        "parameters": model.num_parameters(),
        "data": {
            "kinds": pretraining_text.KINDS,
            "wrong_checks_in_plain_reviews": pretraining_text.FLIP,
            "habits_of_attempts": pretraining_text.ACTOR_HABITS,
            "flaws_of_attempts": pretraining_text.ACTOR_FLAWS,
            "habits_of_reviewed": pretraining_text.REVIEWED_HABITS,
            "flaws_of_reviewed": pretraining_text.REVIEWED_FLAWS,
            "problems": "train split only",
        },
        "started_from": provenance(args.init),
        "losses": history,
    }
    (args.out / "pretrain.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
