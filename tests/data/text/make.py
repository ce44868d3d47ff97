"""Writes expected.json: what transformers makes of sentences, with two made-up vocabularies that it lists too.

The pinned versions are EgoVLPv2's. Where the tokenizers in Python (`slow`) and in Rust (`fast`) disagree, it stops.

    pip install transformers==4.30.0 tokenizers==0.13.3 && python3 tests/data/text/make.py
"""

import json
import tempfile
from pathlib import Path

from transformers import DistilBertTokenizer, DistilBertTokenizerFast, RobertaTokenizer, RobertaTokenizerFast
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

WORDS = """[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] # c x a the picks bag pick ##s ##ed ##ing up cafe nai ##ve where did
i put my ke ##ys ? ! . , ' - ( ) 3 5 ##2 ##c un ##able t ##wo 中 文 ß i̇ é""".split()

ALPHABET = list(bytes_to_unicode().values())
MERGES = """# C|Ġ C|p i|pi c|pic k|pick s|Ġ pick|Ġpick s|Ġ a|b a|ba g|Ġ bag|Ġ w|Ġw h|e r|er e|Ġwh ere|Ġ t|Ġt h|Ġth e
Ġ k|e y|Ġk ey|Ġkey s|Ã ©|Ġ Ġ|o u|' s|1 2|ð Ł"""
MERGES = [pair for line in MERGES.split("\n") for pair in line.split("|")]
BPE = ["<s>", "<pad>", "</s>", "<unk>", *ALPHABET, *dict.fromkeys(pair.replace(" ", "") for pair in MERGES), "<mask>"]

SENTENCES = [
    "#C C picks a bag",
    "",
    "   ",
    "A",
    "#c C PICKS UP the Bag",
    "Where did I put my keys?",
    "  Where did I put my KEYS ?  ",
    "café CAFÉ naïve Çé ÀÉÎ",
    "cafe\u0301 e\u0301",
    "picked, picking; unable-pickable... (two) 3.5!?",
    "it's the bag's, they'll 've 12345 52c",
    "🙂 picks 🙂🙂 a 👩‍👩‍👧",
    "unknownword zzz",
    "中文 the中bag 日本",
    "İstanbul ẞ ß ŒUVRE Σίσυφος ΣΊΣΥΦΟΣ ǅ",
    "a\tb\nc\r\nd\u00a0e\u3000f\u2028g\u200bh\u00adi",
    "nul\x00 bell\x07 unit\x1f sep\x1c \ufffd end",
    "[MASK] [SEP] picks [CLS] [PAD] [UNK] [unused0]",
    "<s> picks </s> a <mask> bag <pad> <unk>",
    "picks<mask>bag , <mask>",
    "\x1f Where ?\x1c",
    "the " * 14,
    "#C C picks a bag the bag where is the bag of the keys that the woman x put up",
    "x" * 101 + " bag",
    "#unsure #O a man X picks up 3 bags",
]
LONG = ["the bag " * 300, "#C C picks a bag"]

# Name, keyword arguments, whether the sentence is stripped and lower-cased first.
MODES = {
    "egovlp": [("nlq", dict(padding=True, truncation=True), False)],
    "egovlpv2": [
        ("pretrain", dict(padding="max_length", max_length=15, truncation=True), False),
        ("epic-train", dict(padding="max_length", max_length=30, truncation=True), False),
        ("nlq", dict(padding="max_length", max_length=30, truncation=True), True),
        ("egomcq", dict(padding=True, truncation=True), False),
    ],
}


def vocabularies(folder):
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(BPE)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")
    kinds = {
        "egovlp": (DistilBertTokenizer, DistilBertTokenizerFast),
        "egovlpv2": (RobertaTokenizer, RobertaTokenizerFast),
    }
    # By from_pretrained, as the original code: the constructors alone leave special tokens in sentences unknown.
    return {
        model: [kind.from_pretrained(folder, model_max_length=512) for kind in both] for model, both in kinds.items()
    }


def encode(slow, fast, arguments, sentences):
    rows = [kind(sentences, **arguments) for kind in (slow, fast)]
    for sentence, *both in zip(sentences, *(row["input_ids"] for row in rows)):
        slow_tokens, fast_tokens = (kind.convert_ids_to_tokens(ids) for kind, ids in zip((slow, fast), both))
        assert slow_tokens == fast_tokens, (sentence, slow_tokens, fast_tokens)
    return {"texts": sentences, "ids": rows[1]["input_ids"], "mask": rows[1]["attention_mask"]}


def main():
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        both = vocabularies(Path(folder))
        for model, modes in MODES.items():
            for rule, arguments, lower in modes:
                batches = [SENTENCES, LONG, ["", ""]] if rule in ("nlq", "egomcq") else [SENTENCES]
                for batch in batches:
                    given = [text.strip().lower() if lower else text for text in batch]
                    case = encode(*both[model], arguments, given)
                    cases.append({"model": model, "rule": rule, **case, "texts": batch})
    expected = {"wordpiece": WORDS, "bpe": BPE, "merges": MERGES, "cases": cases}
    lines = json.dumps(expected, ensure_ascii=True)
    Path(__file__).with_name("expected.json").write_text(lines + "\n", encoding="utf-8")


main()
