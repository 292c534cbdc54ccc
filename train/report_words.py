"""What the report calls things: it differs between a model that fills gaps and one that writes on."""

from typing import NamedTuple

from train.record import Record

# Score: heading, what it means. What is not listed is shown under its own name.
SCORES = {
    "valid_loss": ("Held-out loss", "in nats a token, without what only regularises"),
    "perplexity": ("Perplexity", "e to the held-out loss: among how many tokens it is as if to choose"),
    "valid_loss_80_10_10": ("Held-out loss, 80/10/10", "as trained: a tenth of the targets stays visible"),
    "valid_loss_shuffled": ("Held-out loss, shuffled", "the visible words of the context in random order"),
    "second_half_loss": ("Second-half loss", "of the tokens in the second half of each passage"),
    "second_half_loss_shuffled": (
        "Second-half loss, shuffled",
        "the same tokens, those of the first half in random order",
    ),
    "context_gain": ("Context gain", "what the loss rises by when the context is shuffled: what its order is worth"),
    "unigram_entropy": ("Unigram entropy", "what the best guess scores that never looks at the row"),
    "unigram_loss": ("Unigram loss", "counts of single tokens in the training text"),
    "bigram_loss": ("Bigram loss", "counts of pairs, backing off to single tokens"),
    "trigram_loss": ("Trigram loss", "counts of triples, backing off to pairs: what a model has to beat"),
    "bits_per_byte": ("Bits per byte", "comparable between vocabularies"),
    "nats_per_byte": ("Nats per byte", "comparable between vocabularies"),
    "accuracy": ("Accuracy", "tokens that were the likeliest of all"),
    "masked_accuracy": ("Masked accuracy", "hidden targets named exactly"),
    "next_sentence_loss": ("Next-sentence loss", "nats a pair"),
    "next_sentence_accuracy": ("Next-sentence accuracy", "one half is chance"),
    "sentence_order_loss": ("Sentence-order loss", "nats a pair"),
    "sentence_order_accuracy": ("Sentence-order accuracy", "one half is chance"),
}

# The same of a fine-tuned model, whose scores are counted by examples.
TASK_SCORES = {
    "valid_loss": ("Held-out loss", "in nats an example"),
    "accuracy": ("Accuracy", "examples, or words, whose likeliest class is theirs"),
    "majority_accuracy": ("Majority", "the accuracy of the commonest label of the training examples"),
    "f1": ("F1", "of the second of two classes; of entities by the lenient convention; of the words of answers"),
    "macro_f1": ("Macro F1", "the mean of the classes' F1"),
    "micro_f1": ("Micro F1", "hits counted over all labels together"),
    "f1_strict": ("F1, strict", "entities whose tags are well formed"),
    "precision_strict": ("Precision, strict", "of the entities that it found"),
    "recall_strict": ("Recall, strict", "of the entities that are there"),
    "matthews": ("Matthews correlation", "0 is chance, 1 is right throughout"),
    "pearson": ("Pearson's r", "with the scores that people gave"),
    "spearman": ("Spearman's rho", "of the order, with that of people"),
    "mse": ("Mean squared error", "in squares of the unit of the scores"),
    "exact_match": ("Exact match", "answers that are one of the golds, word for word"),
    "f1_has_answer": ("F1, answerable", "of questions that have an answer"),
    "f1_no_answer": ("F1, unanswerable", "questions without an answer that got none"),
    "expected_calibration_error": ("Calibration error", "how far confidence and accuracy lie apart, over 15 bins"),
    "bleu": ("BLEU", "out of 100, by sacrebleu"),
    "chrf": ("chrF", "out of 100, by sacrebleu"),
    "rouge1": ("ROUGE-1", "F1 of single words"),
    "rouge2": ("ROUGE-2", "F1 of pairs of words"),
    "rougeL": ("ROUGE-L", "F1 of the longest common subsequence"),
    "rougeLsum": ("ROUGE-Lsum", "the same, sentence by sentence"),
    "perplexity": ("Perplexity", "e to the held-out loss of the text that was asked for"),
    "bits_per_byte": ("Bits per byte", "comparable between vocabularies"),
}


class Words(NamedTuple):
    """The words for one kind of loss.

    Attributes:
        term: the name of the loss in the lines of a run, and `accuracy` that of its accuracy.
        accuracy_title: above the chart of the accuracy.
        training, held_out: the two curves of the loss.
        under: below the held-out loss, where it has no floor to be compared with.
        unit: what a loss is counted by.
        asked: what was asked of the held-out documents, `{}` being how often.
        shuffled: the rung of the model whose context is shuffled.
        gain: what the context gain says, `{}` being its value.
        predictions: above the samples.
    """

    term: str
    accuracy: str
    accuracy_title: str
    training: str
    held_out: str
    under: str
    unit: str
    asked: str
    shuffled: str
    gain: str
    predictions: str


GRADES = "green, the first guess is right; yellow, one of the five; red, none."
MASKED = Words(
    term="masked",
    accuracy="masked_accuracy",
    accuracy_title="Masked accuracy",
    training="training, masked words",
    held_out="held out, every target hidden",
    under="every target hidden",
    unit="word piece",
    asked="{} of their word pieces hidden",
    shuffled="this model, visible words shuffled",
    gain="The order of the words around a gap is worth {} nats to it.",
    predictions="Held-out text. The marked words were hidden: " + GRADES,
)
NEXT = Words(
    term="next",
    accuracy="accuracy",
    accuracy_title="Accuracy",
    training="training",
    held_out="held out",
    under="each token from those before it",
    unit="token",
    asked="{} of their tokens predicted",
    shuffled="this model, context shuffled",
    gain="The order of the context is worth {} nats to it.",
    predictions="Held-out text. The marked tokens were to be guessed from what comes before them: " + GRADES,
)
TASK = Words(
    term="label",
    accuracy="accuracy",
    accuracy_title="Accuracy",
    training="training",
    held_out="held out",
    under="an example",
    unit="example",
    asked="{} of them scored",
    shuffled="this model, text shuffled",
    gain="The order of the text is worth {} nats to it.",
    predictions="Held-out examples.",
)


def of_task(record: Record) -> bool:
    """Whether a run is one of a task with examples, not of documents."""
    data = record.config.get("data")
    return isinstance(data, dict) and "task" in data


def scores_of(record: Record) -> dict[str, tuple[str, str]]:
    """The scores that fit a run, with their headings and meanings, in the order in which they are shown."""
    return TASK_SCORES if of_task(record) else SCORES


def words_of(record: Record) -> Words:
    """The words that fit a run, by its task, the terms of its steps and its scores."""
    if of_task(record):
        return TASK
    known = {name for line in record.steps[:1] for name in line} | set(record.scores)
    return NEXT if {"next", "perplexity"} & known else MASKED
