"""One notebook of the bench of loading models, for `.venv-notebook`'s Python; it answers in lines of JSON.

python model_side.py make FOLDER LAYERS       a Llama of 1024 dimensions with so many layers, and a tokenizer
python model_side.py ours NAME                load by sublet.models.load, when a line comes in
python model_side.py plain FOLDER             load as transformers' documentation shows it
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import sublet.models.mapped


def make(folder: Path, layers: int) -> None:
    config = LlamaConfig(
        vocab_size=32_000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=layers,
        num_attention_heads=16, num_key_value_heads=4, tie_word_embeddings=True, dtype="bfloat16",
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)


def ours(name: str) -> Any:
    return sublet.models.load(name)


def plain(folder: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    AutoTokenizer.from_pretrained(folder)
    return model


def main(way: str, what: str) -> None:
    torch.set_num_threads(1)
    _say(ready=True)
    sys.stdin.readline()
    begun = time.perf_counter()
    model = {"ours": ours, "plain": plain}[way](what)
    took = time.perf_counter() - begun
    with torch.no_grad():
        model(torch.ones(1, 1, dtype=torch.long))  # every weight is read
    _say(seconds=took)
    sys.stdin.readline()  # its memory is looked at meanwhile


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 — this is what the bench reads


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2])
