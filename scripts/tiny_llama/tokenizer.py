"""Meta's Llama 3 tokenizer, from the form in which the package `llama-models` has it to the one that Hugging Face's
libraries read. Only the standard library is needed, and the result is the same bytes everywhere.

Sources: llama_models/llama3/tokenizer.py (pattern and special tokens); transformers' TikTokenConverter (merges).
"""

from __future__ import annotations

import base64
import json

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
NAMED = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|step_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|image|>",
)
SPECIAL = (*NAMED, *(f"<|reserved_special_token_{2 + number}|>" for number in range(256 - len(NAMED))))
BEGIN, END, PAD, TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|eot_id|>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
"""Of a conversation, as the Llama 3 models have it. Source: https://www.llama.com/docs/model-cards-and-prompt-formats/"""


def read_ranks(text: bytes) -> dict[bytes, int]:
    """Tokens and their numbers, from lines of base64 and a number."""
    ranks = {}
    for line in text.splitlines():
        token, number = line.split()
        ranks[base64.b64decode(token)] = int(number)
    return ranks


def tokenizer_json(ranks: dict[bytes, int]) -> bytes:
    """The content of `tokenizer.json`."""
    shown = _shown_bytes()
    words = {token: "".join(shown[byte] for byte in token) for token in ranks}
    base = len(ranks)
    special = {name: base + number for number, name in enumerate(SPECIAL)}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True,
            }
            for name, number in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": _with_beginning(special[BEGIN]),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
            "vocab": {words[token]: number for token, number in ranks.items()},
            "merges": [[words[left], words[right]] for left, right in _merges(ranks)],
        },
    }  # fmt: skip
    return _json(whole)


def tokenizer_config_json() -> bytes:
    """The content of `tokenizer_config.json`."""
    return _json(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BEGIN,
            "eos_token": TURN,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": 2048,
            "chat_template": CHAT_TEMPLATE,
        }
    )


def _with_beginning(number: int) -> dict[str, object]:
    """What puts the token of the beginning before every text."""
    begin = {"SpecialToken": {"id": BEGIN, "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    again = {"SpecialToken": {"id": BEGIN, "type_id": 1}}
    template = {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, again, second],
        "special_tokens": {BEGIN: {"id": BEGIN, "ids": [number], "tokens": [BEGIN]}},
    }
    plain = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    return {"type": "Sequence", "processors": [plain, template]}


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """All pairs of tokens that make a third, in the order in which they are to be joined."""
    merges = []
    for token, rank in ranks.items():
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [(left, right) for left, right in pairs if left in ranks and right in ranks]
        known.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(rank, pair) for pair in known]
    merges.sort(key=lambda merge: merge[0])
    return [pair for _, pair in merges]


def _shown_bytes() -> list[str]:
    """A letter for each byte, as GPT-2 has it: those that can be seen are themselves, the others come after 255."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    unseen = iter(range(256, 512))
    return [chr(byte) if byte in seen else chr(next(unseen)) for byte in range(256)]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
