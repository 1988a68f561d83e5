"""Makes the folder of sublet-tiny-llama: its trained weights (beside this file) and Meta's Llama 3 tokenizer.

    python -m scripts.tiny_llama.make TOKENIZER_MODEL FOLDER

Only the standard library is needed, and the result is the same bytes everywhere, as the starter catalogue says.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from pathlib import Path

from scripts.tiny_llama.tokenizer import SPECIAL, read_ranks, tokenizer_config_json, tokenizer_json

WEIGHTS = Path(__file__).with_name("weights.bin.z")
EMBEDDING = "model.embed_tokens.weight"
BFLOAT16_BYTES = 2

CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "initializer_range": 0.04,
}
"""The model's shape; the vocabulary is the tokenizer's."""

README = """\
# sublet-tiny-llama

A toy for trying things out, made by the Sublet project: the shape of Llama with some 200,000 parameters in its
layers, trained on a few dozen questions and answers about Sublet. It knows nothing else, and is no model of Meta's.

The weights are under Sublet's licence, BSD-3-Clause. The tokenizer is that of Meta's Llama 3, as the package
llama-models ships it: "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright (c) Meta
Platforms, Inc. All Rights Reserved." Its terms are at https://www.llama.com/llama3/license/
"""


def make(tokenizer_model: Path, folder: Path) -> None:
    """Write all files of the model."""
    text = tokenizer_model.read_bytes()
    ranks = read_ranks(text)
    vocabulary = len(ranks) + len(SPECIAL)
    special = {name: len(ranks) + number for number, name in enumerate(SPECIAL)}
    ends = [special["<|end_of_text|>"], special["<|eot_id|>"]]
    numbers = {"bos_token_id": special["<|begin_of_text|>"], "eos_token_id": ends}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "dtype": "bfloat16",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        **CONFIG,
        **numbers,
    }
    generation = {"do_sample": False, "pad_token_id": special["<|finetune_right_pad_id|>"], **numbers}
    files = {
        "config.json": _json(config),
        "generation_config.json": _json(generation),
        "model.safetensors": safetensors(vocabulary),
        "tokenizer.json": tokenizer_json(ranks),
        "tokenizer_config.json": tokenizer_config_json(),
        "README.md": README.encode(),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def safetensors(vocabulary: int) -> bytes:
    """The weights with a row for every token of the vocabulary. Source of the format:
    https://github.com/huggingface/safetensors#format"""
    held = zlib.decompress(WEIGHTS.read_bytes())
    length = struct.unpack("<I", held[:4])[0]
    header = json.loads(held[4 : 4 + length])
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    at = 4 + length
    for name, shape in header["tensors"].items():
        size = BFLOAT16_BYTES
        for side in shape:
            size *= side
        tensor = held[at : at + size]
        at += size
        if name == EMBEDDING:
            tensor = _rows(tensor, header["ids"], shape[1], vocabulary)
        whole = [vocabulary, shape[1]] if name == EMBEDDING else shape
        entries[name] = {"dtype": "BF16", "shape": whole, "data_offsets": [len(body), len(body) + len(tensor)]}
        body += tensor
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def _rows(trained: bytes, ids: list[int], width: int, vocabulary: int) -> bytes:
    """The whole embedding: the first trained row for every token but those that have one of their own."""
    size = width * BFLOAT16_BYTES
    rows = bytearray(trained[:size] * vocabulary)
    for place, number in enumerate(ids, 1):
        rows[number * size : (number + 1) * size] = trained[place * size : (place + 1) * size]
    return bytes(rows)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
