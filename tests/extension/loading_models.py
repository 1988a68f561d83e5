"""Make a small model and load it from the store in several ways; print what was found as JSON. In `.venv-notebook`.

python loading_models.py make FOLDER     weights, configuration and tokenizer of a small Llama
python loading_models.py load NAME       load it as told below, from the store that SUBLET_MODELS_DIR names
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["[UNK]", "a", "lease", "is", "time", "of", "gpu"]


def make(folder: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, dtype="bfloat16", max_position_embeddings=128,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config.max_new_tokens = 7
    model.save_pretrained(folder, max_shard_size="16KB")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)


def load(name: str) -> dict[str, Any]:
    import sublet
    from sublet.models import loading

    folder = sublet.models.path(name)
    plain = LlamaForCausalLM.from_pretrained(folder, dtype="auto").eval()
    ways = {"converted": 0}
    converted = loading._converted

    def counting(*given: Any) -> Any:
        ways["converted"] += 1
        return converted(*given)

    loading._converted = counting  # type: ignore[assignment]
    loaded = sublet.models.load(name)
    mapped = ways["converted"] == 0
    asked = loaded.tokenizer("a lease is time", return_tensors="pt").input_ids
    same = torch.equal(loaded(asked).logits, plain(asked).logits)
    names = [part for part in Path("/proc/self/maps").read_text().split() if part.endswith(".safetensors")]
    wide = sublet.models.load(name, dtype="float32")
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)  # into pages of this process alone
    return {
        "mapped": mapped,
        "same": same,
        "tokens": asked.tolist(),
        "files mapped": len(set(names)),
        "parameters": {n: [str(p.dtype), list(p.shape)] for n, p in loaded.named_parameters()}
        == {n: [str(p.dtype), list(p.shape)] for n, p in plain.named_parameters()},
        "buffers": {n: b.tolist() for n, b in loaded.named_buffers()}
        == {n: b.tolist() for n, b in plain.named_buffers()},
        "tied": loaded.lm_head.weight is loaded.model.embed_tokens.weight,
        "training": loaded.training,
        "max_new_tokens": loaded.generation_config.max_new_tokens,
        "generated": list(loaded.generate(asked, pad_token_id=0).shape),
        "wide": str(wide.dtype),
        "wide converted": ways["converted"],
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        sys.stdout.write(json.dumps(load(sys.argv[2])))
