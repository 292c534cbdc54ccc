"""The tasks that `train.evaluate --tasks` knows by name, with the prompts that lm-evaluation-harness made usual.

Default sources are data sets of TFDS, which must lie prepared; any of them is scored on local files too, by
--data.source 'files:TRAIN|VALID'. `library` and `text` need no download.
"""

import re
from typing import Any

from train.few_shot import Prompted, WholeTexts

SENTENCES = (("sentence1", "#1 String", "string1"), ("sentence2", "#2 String", "string2"), ("label", "Quality"))


def hellaswag(example: dict[str, Any]) -> dict[str, Any]:
    """The two halves of the context joined, and marks of WikiHow removed from it and from the endings.

    >>> made = hellaswag({"activity_label": "Tea", "ctx_a": "[header] Boil.", "ctx_b": "then", "endings": ["[step] pour."]})
    >>> made["query"], made["choices"]
    ('Tea: Boil. Then', ['pour.'])
    """

    def clean(text: str) -> str:
        text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
        return text.replace("  ", " ")

    context = f"{example['activity_label']}: {example['ctx_a']} {str(example['ctx_b']).capitalize()}"
    return {"query": clean(context), "choices": [clean(ending).strip() for ending in example["endings"]]}


def arc(example: dict[str, Any]) -> dict[str, Any]:
    """The answers as a list, and what they are called, from any of the forms in which ARC is published."""
    question, choices = example["question"], example.get("choices")
    if isinstance(question, dict):
        question, choices = question["stem"], question["choices"]
    if isinstance(choices, dict):
        names, texts = choices["label"], choices["text"]
    else:
        names, texts = ([choice[part] for choice in choices or ()] for part in ("label", "text"))
    return {
        "question": question,
        "choices": [str(text) for text in texts],
        "__called__": [str(name) for name in names],
    }


def copa(example: dict[str, Any]) -> dict[str, Any]:
    """The premise with a word for what is asked, and the choices as its continuation.

    >>> copa({"premise": "It rained.", "question": "effect", "choice1": "I got wet.", "choice2": "I ate."})["query"]
    'It rained therefore'
    """
    connector = "because" if str(example["question"]) in ("cause", "0") else "therefore"
    choices = [str(example[name]) for name in ("choice1", "choice2")]
    return {
        "query": f"{str(example['premise']).strip()[:-1]} {connector}",
        "choices": [choice[:1].lower() + choice[1:] for choice in choices],
        "__called__": ["choice1", "choice2"],
    }


def wikitext(text: str) -> str:
    """WikiText's tokens as running text: no space before a mark, none inside brackets, hyphens and numbers joined.

    >>> wikitext("a well @-@ known ( old ) town , with 1 @,@ 000 houses .")
    'a well-known (old) town, with 1,000 houses.'
    """
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    text = re.sub(r" ([,.:;!?])(?=\s|$)", r"\1", text)
    text = re.sub(r"([(\[]) ", r"\1", re.sub(r" ([)\]])", r"\1", text))
    text = re.sub(r'" ([^"\n]*?) "', r'"\1"', text)
    text = text.replace(" 's", "'s").replace(" n't", "n't").replace("s ' ", "s' ")
    return re.sub(r" ?\n ?", "\n", text)


TASKS: dict[str, Prompted | WholeTexts] = {
    "sst2": Prompted(
        prompt="{sentence}\nQuestion: Is this sentence positive or negative?\nAnswer:",
        answers=("negative", "positive"),
        labels=("negative", "positive"),
        also=(("sentence", "content", "text"),),
        source="tfds:glue/sst2",
    ),
    "cola": Prompted(
        prompt="{sentence}\nQuestion: Does this sentence make sense?\nAnswer:",
        answers=("no", "yes"),
        labels=("unacceptable", "acceptable"),
        source="tfds:glue/cola",
        metrics=("accuracy", "matthews"),
    ),
    "rte": Prompted(
        prompt="{sentence1}\nQuestion: {sentence2} True or False?\nAnswer:",
        answers=("True", "False"),
        labels=("entailment", "not_entailment"),
        also=(("sentence1", "premise"), ("sentence2", "hypothesis")),
        source="tfds:glue/rte",
    ),
    "mrpc": Prompted(
        prompt="Sentence 1: {sentence1}\nSentence 2: {sentence2}\nQuestion: Do both sentences mean the same thing?\nAnswer:",
        answers=("no", "yes"),
        labels=("not_equivalent", "equivalent"),
        also=SENTENCES,
        source="tfds:glue/mrpc",
        metrics=("accuracy", "f1"),
    ),
    "ag_news": Prompted(
        prompt="{text}\nQuestion: Is this news about the world, sports, business or science?\nAnswer:",
        answers=("world", "sports", "business", "science"),
        labels=("World", "Sports", "Business", "Sci/Tech"),
        spelt=("1", "2", "3", "4"),
        also=(("text", "description"),),
        source="tfds:ag_news_subset|test",
        metrics=("accuracy", "macro_f1"),
    ),
    "piqa": Prompted(prompt="Question: {goal}\nAnswer:", choices=("sol1", "sol2"), source="tfds:piqa"),
    "hellaswag": Prompted(prompt="{query}", choices=("choices",), prepare=hellaswag, source="tfds:hellaswag"),
    "arc_easy": Prompted(
        prompt="Question: {question}\nAnswer:",
        choices=("choices",),
        label="answerKey",
        prepare=arc,
        source="tfds:ai2_arc/ARC-Easy",
    ),
    "copa": Prompted(prompt="{query}", choices=("choices",), prepare=copa, source="tfds:super_glue/copa"),
    "boolq": Prompted(
        prompt="{passage}\nQuestion: {question}?\nAnswer:",
        answers=("no", "yes"),
        labels=("False", "True"),
        also=(("label", "answer"),),
        source="tfds:super_glue/boolq",
    ),
    "library": Prompted(prompt="{text}", choices=("choices",), source="library"),
    "wikitext": WholeTexts(clean=wikitext),
    "text": WholeTexts(source="python_docs"),
}
