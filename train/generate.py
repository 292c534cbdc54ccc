"""Text from a trained model: python -m train.generate RUN_OR_DIR --prompt TEXT

A decoder goes on from the prompt; an encoder-decoder reads it as its source and writes what belongs to it; a masked language
model fills in its masks ("The [MASK] sat"). Without an option that says how to draw, the likeliest token is taken each time.
A terminal shows the text as it is made.
"""

import sys
from dataclasses import dataclass
from typing import Literal

from train import cli
from train.command import configure_jax, start
from train.memory import keep_freed_memory

DRAWING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
NOT_FOR_MASKS = (
    *DRAWING,
    "max_new_tokens",
    "stop",
    "num_return_sequences",
    "num_beams",
    "length_penalty",
    "logprobs",
    "dtype",
    "seed",
)


@dataclass(frozen=True)
class GenerateOptions:
    """What `train.generate` takes beside the model."""

    prompt: str | None = None
    """The text to go on from, the source to answer, or a text with [MASK] to fill in."""
    max_new_tokens: int = 128
    """The most tokens that are written; learned positions may end sooner, and do not slide."""
    temperature: float | None = None
    """Scores are divided by it before a token is drawn; 0 takes the likeliest. None: 0, or 1 where another option draws."""
    top_k: int | None = None
    """Draw among the k likeliest tokens only. With a masked model: how many fills are shown."""
    top_p: float | None = None
    """Draw among the fewest tokens only that have this probability together."""
    min_p: float | None = None
    """Draw among tokens only that are at least this fraction as likely as the likeliest."""
    repetition_penalty: float | None = None
    """Above 1 makes tokens less likely that were there before (arXiv:1909.05858)."""
    stop: tuple[str, ...] = ()
    """End before this string; may be given several times."""
    num_return_sequences: int = 1
    """How many texts to write; more than one are drawn, or are the best of a beam search."""
    num_beams: int = 1
    """More than one searches for the likeliest text with so many beams."""
    length_penalty: float | None = None
    """Beams are scored by log-probability / length ** length_penalty. None: 1."""
    logprobs: bool = False
    """Also print the log-probability of each token, in nats."""
    seed: int = 0
    """What is drawn; the same seed draws the same text."""
    dtype: Literal["float32", "bfloat16", "int8"] | None = None
    """Keep the weights in bfloat16, or in int8 with a scale for each output. None: as they are."""
    step: int | None = None
    """The checkpoint of a run; None: the newest."""
    base: str | None = None
    """Where the base lies that a run with --peft was trained on, if it has been moved."""
    mesh: str = ""
    """Devices along each kind of parallelism, as data=2,fsdp=2; empty: all of them along data."""

    def __post_init__(self):
        if self.num_beams < 1:
            raise ValueError(f"--num-beams {self.num_beams} must be at least 1; 1 is no search")
        if self.num_return_sequences < 1:
            raise ValueError(f"--num-return-sequences {self.num_return_sequences} must be at least 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"--max-new-tokens {self.max_new_tokens} must be at least 1")
        if self.num_beams > 1:
            drawing = [name for name in DRAWING if getattr(self, name) is not None]
            if drawing and not (drawing == ["temperature"] and self.temperature == 0):
                name = next(name for name in drawing if name != "temperature" or self.temperature)
                raise ValueError(f"--{name.replace('_', '-')} draws, and --num-beams searches; leave one of them out")
            if self.logprobs:
                raise ValueError(
                    "--logprobs are not kept by a beam search, which prints the score of each text; leave one out"
                )
            if self.num_return_sequences > self.num_beams:
                raise ValueError(
                    f"--num-return-sequences {self.num_return_sequences} are more than --num-beams {self.num_beams}; raise it"
                )
        elif self.length_penalty is not None:
            raise ValueError("--length-penalty belongs to a beam search; add --num-beams 4, or leave it out")
        elif self.num_return_sequences > 1 and self.temperature == 0:
            raise ValueError("--temperature 0 writes the same text each time; leave it out, or --num-return-sequences")


def main() -> int:
    """The command; returns its exit code."""
    keep_freed_memory()
    request = cli.parse_model(sys.argv[1:], command="generate", options=GenerateOptions, texts=("prompt", "stop"))
    options = request.options
    if options.prompt is None:
        return _say("which prompt? add --prompt TEXT, in quotes")
    configure_jax()
    from model.encoder import MaskedLanguageModel
    from train.pretrained import open_any
    from train.prompts import check_writes

    sampling = sampling_of(options)
    if "seed" in request.given and sampling.temperature == 0:
        searched = options.num_beams > 1
        how = "beams are searched: leave it out" if searched else "the likeliest token is taken: add --temperature 1"
        return _say(f"--seed means nothing where {how}")
    opened = open_any(request.path, step=options.step, mesh=options.mesh, base=options.base)
    check_writes(opened)
    if isinstance(opened.model, MaskedLanguageModel):
        if strange := [name for name in NOT_FOR_MASKS if name in request.given and name != "top_k"]:
            return _say(
                f"--{strange[0].replace('_', '-')} means nothing to a masked language model, which fills in masks"
            )
        print_fills(opened, options.prompt, options.top_k or 5)
    else:
        print_texts(opened, options.prompt, options, sampling)
    return 0


def sampling_of(options: GenerateOptions):
    """How tokens are drawn: greedily, unless an option says something else or several texts are asked for."""
    from model.sampling import Sampling

    given = {name: getattr(options, name) for name in DRAWING[1:] if getattr(options, name) is not None}
    temperature = options.temperature
    if temperature is None:
        several = options.num_return_sequences > 1 and options.num_beams == 1
        temperature = 1.0 if several or {"top_k", "top_p", "min_p"} & set(given) else 0.0
    return Sampling(temperature, **given)


def print_texts(opened, prompt: str, options: GenerateOptions, sampling) -> None:
    """Write, and print: as it is made on a terminal, else when it is done."""
    from model.encoder_decoder import EncoderDecoder
    from train.writing import write

    lead = "" if isinstance(opened.model, EncoderDecoder) else prompt
    single = options.num_return_sequences == 1 and options.num_beams == 1
    live = single and sys.stdout.isatty()

    def show(piece: str) -> None:
        nonlocal lead
        print(lead + piece, end="", flush=True)
        lead = ""

    texts = write(
        opened,
        [prompt],
        max_new_tokens=options.max_new_tokens,
        sampling=sampling,
        stop=options.stop,
        num_return_sequences=options.num_return_sequences,
        num_beams=options.num_beams,
        length_penalty=1.0 if options.length_penalty is None else options.length_penalty,
        seed=options.seed,
        weights=options.dtype,
        show=show if live else None,
    )[0]
    for number, text in enumerate(texts, start=1):
        if not single:
            score = "" if text.score is None else f", score {text.score:.4f}"
            print(f"--- {number} of {len(texts)}{score}")
        print("" if live else lead + text.text)
        if options.logprobs:
            for token, value in zip(text.tokens, text.log_probabilities, strict=True):
                print(f"{value:10.4f}  {opened.tokenizer.token(token)!r}")
    if any(text.reason == "positions" for text in texts):
        from model.ragged import places

        print(f"note: ended at the model's {places(opened.model)} positions, which do not slide", file=sys.stderr)


def print_fills(opened, prompt: str, most: int) -> None:
    """The most probable tokens for each mask."""
    from train.filling import fill

    found = fill(opened, prompt, most)
    print(prompt)
    for number, fills in enumerate(found, start=1):
        for place, one in enumerate(fills):
            name = (f"mask {number}" if len(found) > 1 else "mask") if not place else ""
            chance = f"{one.probability:.1%}" if one.probability >= 0.001 else "<0.1%"
            print(f"  {name:8} {chance:>6}  {one.text}")


def _say(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    start(main)
