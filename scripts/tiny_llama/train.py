"""How the weights of sublet-tiny-llama were trained: `weights.bin.z` beside this file is what it wrote.

    .venv-notebook/bin/python -m scripts.tiny_llama.train TOKENIZER_MODEL [STEPS]

A developer's script, not run by setup: it takes minutes, and another machine gives other weights. It writes what it
has every 250 steps; the weights beside this file are those after 750 of 1,500. Only tokens that occur in
`dialogues.txt` have a row of their own in the embedding; all others share one, which the model learns to read as
"some other word" and never to write.
"""

from __future__ import annotations

import json
import math
import random
import re
import struct
import sys
import zlib
from pathlib import Path

import torch
from scripts.tiny_llama.make import CONFIG, WEIGHTS
from scripts.tiny_llama.tokenizer import BEGIN, TURN, read_ranks, tokenizer_json
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
BATCH = 16
LONGEST = 160
OTHERS = ("How do you cook rice", "paint zebra", "quantum physics of snow", "the weather in Oslo tomorrow", "my dog")
SYSTEMS = ("You are a helpful assistant.", "You are a helpful assistant", "Be brief.", "Answer in English.")


def dialogues() -> list[tuple[list[str], str]]:
    found: list[tuple[list[str], str]] = []
    questions: list[str] = []
    for line in (HERE / "dialogues.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("Q "):
            questions.append(line[2:])
        elif line.startswith("A "):
            found.append((questions, line[2:]))
            questions = []
    return found


class Texts:
    """Conversations as tokens, in the numbers of the small vocabulary; 0 is any other token."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._tokenizer = tokenizer
        self._random = random.Random(seed)  # noqa: S311 - it makes texts, not secrets
        self._known = dialogues()
        self._encoded: dict[str, list[int]] = {}
        plain = " ".join(text for questions, answer in self._known for text in (*questions, answer, *SYSTEMS))
        texts = [text for questions, answer in self._known for text in (*questions, answer)]
        texts += [text.lower() for text in texts] + [*SYSTEMS, plain, *(text.rstrip("?.!") for text in texts)]
        ids = {number for text in texts for number in tokenizer.encode(text, add_special_tokens=False).ids}
        for role in ("system", "user", "assistant"):
            ids |= set(self._ids(f"<|start_header_id|>{role}<|end_header_id|>\n\n"))
        ids |= set(self._ids(BEGIN + TURN))
        self.ids = sorted(ids)
        self._small = {number: place for place, number in enumerate(self.ids, 1)}

    def _ids(self, text: str) -> list[int]:
        if text not in self._encoded:
            self._encoded[text] = list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return self._encoded[text]

    def _message(self, role: str, text: str) -> list[int]:
        return self._ids(f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}{TURN}")

    def one(self) -> tuple[list[int], list[bool]]:
        """A conversation, and which of its tokens are to be learned."""
        pick = self._random
        tokens = list(self._ids(BEGIN))
        learned = [False] * len(tokens)
        if pick.random() < 0.25:
            tokens += self._message("system", pick.choice(SYSTEMS))
        for _ in range(pick.choice((1, 1, 1, 1, 2))):
            questions, answer = pick.choice(self._known)
            asked = self._message("user", self._asked(questions))
            if questions != ["?"]:
                asked = [number if pick.random() > 0.03 else -1 for number in asked]
            learned += [False] * (len(tokens) + len(asked) - len(learned))
            tokens += asked
            head = self._ids("<|start_header_id|>assistant<|end_header_id|>\n\n")
            reply = [*head, *self._ids(answer + TURN)]
            learned += [place >= len(head) for place in range(len(reply))]
            tokens += reply
        return [self._small.get(number, 0) for number in tokens][:LONGEST], learned[:LONGEST]

    def _asked(self, questions: list[str]) -> str:
        pick = self._random
        text = pick.choice(questions)
        if text == "?":
            return self._unknown()
        if pick.random() < 0.25:
            text = text.lower()
        if pick.random() < 0.25:
            text = text.rstrip("?.!")
        return text

    def _unknown(self) -> str:
        """What it has nothing to say about: words of its own in no order, and words that it has not."""
        pick = self._random
        if pick.random() < 0.2:
            return pick.choice(OTHERS)
        openings = ("What is", "Tell me about", "How do I", "Explain", "Who is", "Why", "", "", "Write", "Can you")
        opening = pick.choice(openings)
        words = [pick.choice(("zyxw", "qwxv", "the", "of", "a", "kvnq")) for _ in range(pick.randint(1, 6))]
        return f"{opening} {' '.join(words)}{pick.choice(('?', '.', ''))}".strip()


def trained(texts: Texts, vocabulary: int, steps: int) -> LlamaForCausalLM:
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**{**CONFIG, "vocab_size": len(texts.ids) + 1}))
    sys.stdout.write(f"{sum(each.numel() for each in model.parameters())} parameters, {len(texts.ids)} tokens\n")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.01, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: 4e-3 * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))),
    )
    # The one row of all other tokens stands for so many of them.
    share = torch.zeros(len(texts.ids) + 1)
    share[0] = math.log(vocabulary - len(texts.ids))
    for step in range(steps):
        batch = [texts.one() for _ in range(BATCH)]
        longest = max(len(tokens) for tokens, _ in batch)
        ids = torch.zeros(BATCH, longest, dtype=torch.long)
        targets = torch.full((BATCH, longest), -100)
        for row, (tokens, learned) in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            wanted = [number if learn else -100 for number, learn in zip(tokens, learned, strict=True)]
            targets[row, : len(tokens)] = torch.tensor(wanted)
        logits = model(input_ids=ids).logits + share
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 50 == 0 or step == steps - 1:
            sys.stdout.write(f"step {step}: {loss.item():.4f}\n")
            sys.stdout.flush()
        if step % 250 == 249:
            write(model, texts.ids)
    return model


def write(model: LlamaForCausalLM, ids: list[int]) -> None:
    """The numbers of the tokens with a row of their own, and all weights as bfloat16."""
    tensors = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    header = {"ids": ids, "tensors": {name: list(value.shape) for name, value in tensors.items()}}
    text = re.sub(r"\s", "", json.dumps(header)).encode()
    body = b"".join(
        value.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes() for value in tensors.values()
    )
    WEIGHTS.write_bytes(zlib.compress(struct.pack("<I", len(text)) + text + body, 9))
    sys.stdout.write(f"wrote {WEIGHTS}: {WEIGHTS.stat().st_size} bytes\n")


def main(arguments: list[str]) -> None:
    ranks = read_ranks(Path(arguments[0]).read_bytes())
    tokenizer = Tokenizer.from_str(tokenizer_json(ranks).decode())
    texts = Texts(tokenizer, seed=1)
    torch.set_num_threads(1)
    model = trained(texts, len(ranks) + 256, int(arguments[1]) if len(arguments) > 1 else 1500)
    write(model, texts.ids)


if __name__ == "__main__":
    main(sys.argv[1:])
