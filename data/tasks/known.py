"""Tasks by name, as published: their columns, the order of their classes, their metrics, where they come from.

`known_task("sst2")` reads them from TFDS; `from_folder("sst2", FOLDER)` from files of the usual names.
"""

import difflib
import glob
from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from data.tasks.choices import Answers, Classification, Generation, MultipleChoice, Regression, Tagging, Task
from data.tasks.config import TaskData
from data.tasks.sources import LibraryParts, TaskFiles, TaskSource, TaskTFDS, parse_task_source

ENTAILMENT = ("entailment", "not_entailment")
CONLL = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")  # as in HF's copy
WIKIANN = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
TNEWS = tuple(f"news_{topic}" for topic in (
    "story", "culture", "entertainment", "sports", "finance", "house", "car", "edu", "tech", "military", "travel", "world",
    "stock", "agriculture", "game",
))  # fmt: skip
TNEWS_CODES = tuple(map(str, (100, 101, 102, 103, 104, 106, 107, 108, 109, 110, 112, 113, 114, 115, 116)))

# GLUE (Wang et al., arXiv:1804.07461): classes in the order of the published numbers, metrics as its board scores them.
GLUE: dict[str, Task] = {
    "cola": Classification(
        labels=("unacceptable", "acceptable"), metrics=("matthews",),
        prompt="{sentence}\nIs this sentence acceptable English?", answers=("no", "yes"),
    ),
    "sst2": Classification(
        labels=("negative", "positive"), prompt="{sentence} It was", answers=("terrible", "great"),
    ),
    "mrpc": Classification(
        text=("sentence1", "#1 String"), second=("sentence2", "#2 String"), label=("label", "Quality"),
        labels=("not_equivalent", "equivalent"), metrics=("accuracy", "f1"),
        prompt="{sentence1}\n{sentence2}\nDo both sentences mean the same?", answers=("no", "yes"),
    ),
    "qqp": Classification(
        text=("question1",), second=("question2",), label=("label", "is_duplicate"),
        labels=("not_duplicate", "duplicate"), metrics=("accuracy", "f1"),
        prompt="{question1}\n{question2}\nDo both questions ask the same?", answers=("no", "yes"),
    ),
    "stsb": Regression(
        text=("sentence1",), second=("sentence2",), target=("label", "score"), metrics=("pearson", "spearman"),
    ),
    "mnli": Classification(
        text=("premise", "sentence1"), second=("hypothesis", "sentence2"), label=("label", "gold_label"),
        labels=("entailment", "neutral", "contradiction"),
        prompt="{premise}\nQuestion: {hypothesis} True, false or neither?\nAnswer:", answers=("true", "neither", "false"),
    ),
    "qnli": Classification(
        text=("question",), second=("sentence",), labels=ENTAILMENT,
        prompt="{question}\n{sentence}\nDoes this answer the question?", answers=("yes", "no"),
    ),
    "rte": Classification(
        text=("sentence1", "premise"), second=("sentence2", "hypothesis"), labels=ENTAILMENT,
        prompt="{sentence1}\nQuestion: {sentence2} True or false?\nAnswer:", answers=("true", "false"),
    ),
    "wnli": Classification(
        text=("sentence1",), second=("sentence2",), labels=("not_entailment", "entailment"),
        prompt="{sentence1}\nQuestion: {sentence2} True or false?\nAnswer:", answers=("false", "true"),
    ),
}  # fmt: skip

OTHERS: dict[str, tuple[Task, TaskSource]] = {
    "library_parts": (Classification(), LibraryParts()),
    "ag_news": (
        Classification(
            text=("description", "text"), labels=("World", "Sports", "Business", "Sci/Tech"),
            spelt=("1", "2", "3", "4"),
            prompt="{description}\nTopic:", answers=("world", "sports", "business", "science"),
        ),
        TaskTFDS("ag_news_subset", valid="test"),
    ),
    "squad": (Answers(), TaskTFDS("squad/v1.1")),  # Rajpurkar et al., arXiv:1606.05250
    "squad2": (Answers(no_answer=True), TaskTFDS("squad/v2.0")),  # arXiv:1806.03822
    "conll2003": (
        Tagging(labels=CONLL, tags=("ner_tags", "ner", "tags")),  # Tjong Kim Sang and De Meulder, 2003
        TaskTFDS("conll2003", valid="dev"),
    ),
    "wikiann": (Tagging(labels=WIKIANN, tags=("tags", "ner_tags")), TaskTFDS("wikiann/en")),  # Pan et al., 2017
    "cnn_dailymail": (Generation(template="summarize: {source}"), TaskTFDS("cnn_dailymail")),  # arXiv:1704.04368
    "xsum": (Generation(template="summarize: {source}"), TaskTFDS("xsum")),
    "dialogsum": (  # Chen et al., arXiv:2105.06762
        Generation(target=("summary", "summary1"), references=("summary2?", "summary3?")),
        TaskFiles("dialogsum.train.jsonl", "dialogsum.dev.jsonl"),
    ),
    "wmt14_de_en": (
        Generation(source=("en", "source"), target=("de", "target"), metrics=("bleu", "chrf")),
        TaskTFDS("wmt14_translate/de-en"),
    ),
    "multi30k": (  # Elliott et al., arXiv:1605.00459
        Generation(source=("en", "source"), target=("de", "target"), metrics=("bleu", "chrf")),
        TaskFiles("train.en+train.de", "val.en+val.de", ("en", "de")),
    ),
    "listops": (  # Nangia and Bowman, arXiv:1804.06028
        Classification(text=("Source", "text"), label=("Target", "label"), labels=tuple("0123456789")),
        TaskFiles("basic_train.tsv", "basic_val.tsv"),
    ),
    "tnews": (  # CLUE, Xu et al., arXiv:2004.05986
        Classification(text=("sentence", "text"), label=("label", "label_desc"), labels=TNEWS, spelt=TNEWS_CODES),
        TaskFiles("train.json", "dev.json"),
    ),
    "afqmc": (
        Classification(text=("sentence1",), second=("sentence2",), labels=("different", "same"), metrics=("accuracy",)),
        TaskFiles("train.json", "dev.json"),
    ),
    "cmrc2018": (Answers(max_answer=100), TaskFiles("cmrc2018_train.json", "cmrc2018_dev.json")),
    "e2e_nlg": (
        Generation(source=("mr", "meaning_representation"), target=("ref", "human_reference"), metrics=("bleu", "rougeL")),
        TaskFiles("trainset.csv", "devset.csv"),
    ),
    "scan": (  # Lake and Baroni, arXiv:1711.00350
        Generation(metrics=("exact_match",)),
        TaskFiles("tasks_train_simple.txt", "tasks_test_simple.txt", ("IN: {source} OUT: {target}",)),
    ),
    "boolq": (
        Classification(
            text=("question",), second=("passage",), label=("answer", "label"), labels=("no", "yes"),
            prompt="{passage}\nQuestion: {question}?\nAnswer:", answers=("no", "yes"),
        ),
        TaskTFDS("bool_q"),
    ),
    "piqa": (  # Bisk et al., arXiv:1911.11641
        MultipleChoice(text=("goal",), choices=("sol1", "sol2"), prompt="Question: {goal}\nAnswer:"),
        TaskTFDS("piqa"),
    ),
    "hellaswag": (  # Zellers et al., arXiv:1905.07830
        MultipleChoice(text=("context", "ctx"), prompt="{context}"),
        TaskTFDS("hellaswag"),
    ),
    "arc_easy": (  # Clark et al., arXiv:1803.05457
        MultipleChoice(text=("question",), label=("answerKey", "label"), prompt="Question: {question}\nAnswer:"),
        TaskTFDS("ai2_arc/ARC-Easy"),
    ),
    "copa": (
        MultipleChoice(
            text=("premise",), second=("question",), choices=("choice1", "choice2"), prompt="{premise} {question}:",
        ),
        TaskFiles("train.jsonl", "val.jsonl"),
    ),
}  # fmt: skip

# The names under which the files of a task are handed around; the first that is all there is read.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "cola": ("train.tsv|dev.tsv#_,label,_,sentence", "in_domain_train.tsv|*_domain_dev.tsv#_,label,_,sentence"),
    "sst2": ("train.tsv|dev.tsv", "glue_train.tsv|glue_dev.tsv", "sent_train.tsv|sent_dev.tsv#sentence,label"),
    "mrpc": ("train.tsv|dev.tsv", "train.tsv|val.tsv", "msr_paraphrase_train.txt|msr_paraphrase_test.txt"),
    "mnli": ("train.tsv|dev_matched.tsv",),
    "mnli_mismatched": ("train.tsv|dev_mismatched.tsv",),
    "ag_news": (
        "train.csv|test.csv#label,_,description",
        "train_10k_desc.tsv|test.csv#description,label|label,_,description",
    ),
    "squad": ("train-v1.1.json|dev-v1.1.json",),
    "squad2": ("train-v2.0.json|dev-v2.0.json", "dev-v2.0.json"),
    "conll2003": ("eng.train.conll|eng.testa.conll", "train.txt|valid.txt", "train.txt|dev.txt"),
    "wikiann": ("train.txt|dev.txt", "train.txt|test.txt"),
    "dialogsum": ("dialogsum.train.jsonl|dialogsum.dev.jsonl", "train.jsonl|dev.jsonl", "dev.jsonl|test.jsonl"),
    "multi30k": ("train.en+train.de|val.en+val.de#en,de",),
    "listops": ("basic_train.tsv|basic_val.tsv", "train_d20s.tsv|test_d20s.tsv#label,text", "test_d20s.tsv#label,text"),
    "scan": ("tasks_train_simple.txt|tasks_test_simple.txt#IN: {source} OUT: {target}",),
    "copa": ("train.jsonl|val.jsonl",),
    "boolq": ("train.jsonl|dev.jsonl", "train.jsonl|val.jsonl"),
    "afqmc": ("train.json|dev.json", "train.jsonl|dev.jsonl"),
    "tnews": ("train.json|dev.json", "train.jsonl|dev.jsonl", "train.tsv|dev.tsv#sentence,label"),
    "cmrc2018": ("cmrc2018_train.json|cmrc2018_dev.json", "trial.json", "cmrc2018_trial.json"),
    "e2e_nlg": ("trainset.csv|devset.csv", "devset.csv|testset_w_refs.csv"),
}
GLUE_FILES = ("train.tsv|dev.tsv",)


def known_names() -> list[str]:
    """Every task that has a name."""
    return [*GLUE, "mnli_mismatched", *OTHERS]


def known_task(name: str) -> TaskData:
    """The task of a name, from TFDS where that has it.

    >>> str(known_task("mnli_mismatched").source), known_task("cola").task.metrics
    ('tfds:glue/mnli|validation_mismatched', ('matthews',))
    """
    task, source = _known(name)
    return TaskData(task, source, row_length=384, stride=128) if isinstance(task, Answers) else TaskData(task, source)


def from_folder(name: str, folder: str | Path) -> TaskData:
    """The task of a name, from the files of a folder; DataError where none of its usual files are there."""
    task, _ = _known(name)
    layouts = LAYOUTS.get(name, GLUE_FILES)
    for layout in layouts:
        found = parse_task_source(f"files:{layout}")
        assert isinstance(found, TaskFiles)
        parts = [path for part in (found.train, found.valid) if part for path in part.split("+")]
        if all(glob.glob(str(Path(folder) / path)) for path in parts):
            if name == "wikiann" and isinstance(task, Tagging):
                task = replace(task, prefix="en:")
            train, valid = (None if p is None else _inside(folder, p) for p in (found.train, found.valid))
            return replace(known_task(name), task=task, source=replace(found, train=train, valid=valid))
    looked = ", or ".join(layout.partition("#")[0].replace("|", " and ") for layout in layouts)
    raise DataError(
        f"{folder} has none of the usual files of {name} ({looked}); name yours with --data.source files:TRAIN|VALID"
    )


def _inside(folder: str | Path, names: str) -> str:
    return "+".join(str(Path(folder) / name) for name in names.split("+"))


def _known(name: str) -> tuple[Task, TaskSource]:
    if name in ("mnli", "mnli_mismatched"):
        held_out = "validation_mismatched" if name == "mnli_mismatched" else "validation_matched"
        return GLUE["mnli"], TaskTFDS("glue/mnli", valid=held_out)
    if name in GLUE:
        return GLUE[name], TaskTFDS(f"glue/{name}")
    if name in OTHERS:
        return OTHERS[name]
    near = difflib.get_close_matches(name, known_names(), n=1)
    raise DataError(f"there is no known task {name}; " + (f"did you mean {near[0]}?" if near else "use one of "
                    + ", ".join(known_names())))  # fmt: skip
