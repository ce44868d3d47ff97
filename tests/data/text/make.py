"""Writes expected.json: what the original code and transformers make of sentences, with two made-up vocabularies that it
lists too.

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
Ġ k|e y|Ġk ey|Ġkey s|Ã ©|Ġ Ġ|o u|' s|1 2|ð Ł|Ġ ?|? ?"""
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
    # What NLQ's official files have: no question mark, several, blanks and line breaks around it, doubled blanks.
    "Where did I put my keys",
    "Where did I put my keys??",
    "Where did I put my keys ? ?",
    "? Where did I put the bag ??",
    "Where did I put my keys?\n",
    "Where did I put my keys\n",
    "\nWhere did I put my keys ",
    "Where  did I  put my keys ?",
    "\tWhere did I put my keys?\t",
    "Where did I put my keys?\u00a0",
    "Where did I put my keys.",
    " ? ",
    "\n",
]
LONG = ["the bag " * 300, "#C C picks a bag"]


def as_annotated(text):
    return text


def stripped(text):
    """EgoTaskQA_dataset.py of EgoVLPv2 and of EgoVideoQA (PPSA), `collate_func`."""
    return text.strip().lower()


def question(text):
    """NLQ out of the files of NLQ/VSLNet/utils/prepare_ego4d_dataset.py (`process_question`), as data_gen.py of EgoVLP's and
    of EgoVLPv2's VSLNet reads them (`process_data_tan`)."""
    in_file = text.strip(" ").strip("?").lower() + "?"
    return in_file.strip().lower()


# Of each treatment one rule: its name, the tokenizer's keyword arguments, what is done to a sentence before.
MODES = {
    "egovlp": [
        ("nlq", dict(padding=True, truncation=True), as_annotated),
        ("nlq-vslnet", dict(padding=True, truncation=True), question),
    ],
    "egovlpv2": [
        ("pretrain", dict(padding="max_length", max_length=15, truncation=True), as_annotated),
        ("epic-train", dict(padding="max_length", max_length=30, truncation=True), as_annotated),
        ("nlq", dict(padding="max_length", max_length=30, truncation=True), question),
        ("egotaskqa", dict(padding="max_length", max_length=30, truncation=True), stripped),
        ("egomcq", dict(padding=True, truncation=True), as_annotated),
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
    return {"prepared": sentences, "ids": rows[1]["input_ids"], "mask": rows[1]["attention_mask"]}


def main():
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        both = vocabularies(Path(folder))
        for model, modes in MODES.items():
            for rule, arguments, prepare in modes:
                batches = [SENTENCES, LONG, ["", ""]] if rule in ("nlq", "egomcq") else [SENTENCES]
                for batch in batches:
                    case = encode(*both[model], arguments, [prepare(text) for text in batch])
                    cases.append({"model": model, "rule": rule, "texts": batch, **case})
    # The texts of each batch once.
    batches = []
    for case in cases:
        texts = case.pop("texts")
        if texts not in batches:
            batches.append(texts)
        case["batch"] = batches.index(texts)
        if case["prepared"] == texts:
            del case["prepared"]
    expected = {"wordpiece": WORDS, "bpe": BPE, "merges": MERGES, "batches": batches, "cases": cases}
    lines = json.dumps(expected, ensure_ascii=True, separators=(",", ":"))
    Path(__file__).with_name("expected.json").write_text(lines + "\n", encoding="utf-8")


main()
