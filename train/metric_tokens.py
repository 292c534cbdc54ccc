"""What text metrics count: words or characters, by the script of the references; and the tokenizer that this asks for.

English words are those of rouge-score: lower case, a to z and digits, Porter stems. They leave nothing of other scripts, so texts
with more than a few letters beyond ASCII are split at what Unicode calls no letter, mark, number or emoji, and scripts that write
no spaces between words by character, as CMRC 2018, WMT and MLQA count them. A text among English ones that would lose words is
split so too, its English words by rouge-score.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

from train.task_metrics import MetricError

Tokenize = Callable[[str], list[str]]

# Thai, Lao, Burmese, Khmer, Tai, Javanese and Balinese; kana, bopomofo and Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9df"
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\uff66-\uff9f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_KANA = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_EMOJI = re.compile("[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")
_VARIANTS = re.compile("[\ufe0e\ufe0f]")  # of emoji: drawn as text or in colour
_BEYOND = re.compile("[^a-z0-9]")
ENGLISH = 0.01  # the share of letters beyond ASCII under which a text is counted as English
NAMES = 15  # times as many are names and borrowed words, where a tenth of the words are COMMON
COMMON = {"the", "of", "and", "is", "was", "that", "with", "it", "for", "are", "this", "they"}
MIXED = 0.1  # the share of letters without spaces between words from which characters are counted


def unspaced(texts: Iterable[str], share: float = MIXED) -> bool:
    """Whether texts are written without spaces between words, for this share of their letters or more.

    >>> unspaced(["今天天气很好"]), unspaced(["Grüße aus Köln"])
    (True, False)
    """
    joined = " ".join(texts)
    return len(_UNSPACED.findall(joined)) >= share * max(1, _letters(joined))


def english(texts: Iterable[str]) -> bool:
    """Whether texts have next to no letters beyond ASCII, or a few among the words that only English has so often.

    >>> english(["The cat sat."]), english(["Привет, мир"]), english(["Grüße"]), english(["It was the café of Zoë"])
    (True, False, False, True)
    """
    joined = unicodedata.normalize("NFC", " ".join(texts))
    beyond = sum(letter > "\x7f" and letter.isalpha() for letter in joined) / max(1, _letters(joined))
    if ENGLISH < beyond <= NAMES * ENGLISH:
        words = joined.lower().split()
        return sum(word in COMMON for word in words) >= MIXED * len(words)
    return beyond <= ENGLISH


def bleu_tokenizer(chosen: str, texts: Iterable[str]) -> str:
    """The name of sacrebleu's tokenizer: the one that was chosen, or for "auto" the one that fits the references.

    Chinese is split by zh; Japanese, Thai and others that write no spaces by char; the rest by 13a.

    >>> bleu_tokenizer("auto", ["今天天气很好"]), bleu_tokenizer("auto", ["今日は"]), bleu_tokenizer("auto", ["good day"])
    ('zh', 'char', '13a')
    """
    if chosen != "auto":
        return chosen
    texts = list(texts)
    if not unspaced(texts):
        return "13a"
    joined = "".join(texts)
    letters, kana, han = (len(pattern.findall(joined)) for pattern in (_UNSPACED, _KANA, _HAN))
    return "zh" if kana < 0.05 * letters and han > 0.5 * letters else "char"


def rouge_tokenizer(chosen: str, texts: Iterable[str]) -> str:
    """The name of ROUGE's tokenizer, a key of TOKENIZERS: sacrebleu's 13a goes with the English of rouge-score.

    >>> [rouge_tokenizer("auto", [text]) for text in ("good day", "добрый день", "今日は")]
    ['english', 'unicode', 'unicode']
    """
    if chosen == "auto":
        return "english" if english(texts) else "unicode"
    return {"13a": "english", "intl": "unicode", "zh": "unicode"}.get(chosen, chosen)


def check_tokenizer(chosen: str) -> None:
    """MetricError where a tokenizer needs what is not installed; worth calling before anything is trained."""
    if chosen.endswith("mecab"):
        _sacrebleu(chosen)


def tokenize_by(name: str) -> Tokenize:
    """A tokenizer of ROUGE by its name."""
    match name:
        case "english":
            from rouge_score.tokenizers import DefaultTokenizer

            return DefaultTokenizer(use_stemmer=True).tokenize
        case "unicode":
            return unicode_words
        case "char":
            return characters
        case "none":
            return lambda text: text.casefold().split()
    split = _sacrebleu(name)
    return lambda text: split(text.casefold()).split()


def unicode_words(text: str) -> list[str]:
    """Runs of letters, marks and numbers of any script, without case; what writes no spaces by character with its marks, and
    emoji each.

    >>> unicode_words("Grüße, 你好! ไปๆ 😀😀")
    ['grüsse', '你', '好', 'ไ', 'ป', 'ๆ', '😀', '😀']
    """
    return _split(unicodedata.normalize("NFKC", text).casefold())


def english_and_other_words(text: str) -> list[str]:
    """As `unicode_words`, and words of ASCII as rouge-score has them.

    >>> english_and_other_words("Running in Москва, 2020")
    ['run', 'in', 'москва', '2020']
    """
    stems = tokenize_by("english")
    return [part for word in unicode_words(text) for part in (stems(word) if word.isascii() else [word])]


def loses(text: str) -> bool:
    """Whether English words leave nothing of some other word, or little of the text.

    Where letters with accents are few the rest of a word is left, as rouge-score cuts it.

    >>> loses("Москва 2020"), loses("2020"), loses("a naïve view of the café"), loses("It was in Київ")
    (True, False, False, True)
    """
    if text.isascii():
        return False
    words = _split(unicodedata.normalize("NFC", text).lower())
    beyond = sum(len(_BEYOND.findall(word)) for word in words)
    whole = any(any(map(str.isalnum, word)) and len(_BEYOND.findall(word)) == len(word) for word in words)
    return whole or beyond > NAMES * ENGLISH * sum(map(len, words))


def characters(text: str) -> list[str]:
    """Every character but white space.

    >>> characters("Ab, 你!")
    ['a', 'b', ',', '你', '!']
    """
    return [letter for letter in unicodedata.normalize("NFKC", text).casefold() if not letter.isspace()]


def _split(text: str) -> list[str]:
    kept = "".join(
        letter if unicodedata.category(letter)[0] in "LMN" or _EMOJI.match(letter) else " " for letter in text
    )
    kept = _EMOJI.sub(lambda found: f" {found[0]} ", _VARIANTS.sub("", kept))
    spaced = _UNSPACED.sub(lambda found: found[0] if unicodedata.category(found[0])[0] == "M" else f" {found[0]}", kept)
    # A letter of another script behind one of these is another word.
    return re.sub(f"([{UNSPACED}])(?=[^\\s{UNSPACED}])", r"\1 ", spaced).split()


def _letters(text: str) -> int:
    return sum(letter.isalpha() for letter in text)


def _sacrebleu(name: str) -> Callable[[str], str]:
    from sacrebleu.metrics.bleu import BLEU

    try:
        return BLEU(tokenize=name).tokenizer
    except Exception as error:  # a RuntimeError or an ImportError, as the dictionary or its reader is missing
        extra = name.partition("-")[0]
        raise MetricError(f"the tokenizer {name} is not installed; install it with pip install 'sacrebleu[{extra}]', or use "
                          "--data.task.metric_tokenizer char") from error  # fmt: skip
