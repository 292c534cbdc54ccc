"""T5, 2 + 2 x 128: spans of a text hidden behind sentinels, and written by the decoder.

Paper:   Raffel et al., arXiv:1910.10683.
Departs: the documentation of the running Python as its text, a SentencePiece vocabulary of 4,096 with the hundred sentinels
         in it, rows of 128, no dropout, Muon and Adam in the place of Adafactor. Initialised as published, the model reads
         its source as a bag of words for more steps than a laptop takes; with initializers.Mimetic it reads the order from
         the first steps on. Each part of that start was tried alone: experiments/results/recipe_t5_tiny.json.
Run:     python -m train.pretrain --exp=t5_tiny
Try:     python -m train.pretrain --exp=t5_tiny --objective.mean-span 2
Result:  experiments/results/t5_tiny.json
"""

from data.config import TextData
from data.sources import PythonDocs
from data.tokenizers.choices import SentencePiece
from model.families import t5
from model.initializers import Mimetic
from model.stack import Stack
from train.config import Experiment
from train.objectives import SpanCorruption
from train.optimizers import Muon
from train.schedules import WarmupLinear

experiment = Experiment(
    data=TextData(
        source=PythonDocs(), tokenizer=SentencePiece(vocab_size=4_096, sentinels=100), row_length=128, batch_size=32
    ),
    model=t5.config(
        "tiny", vocab_size=4_096, dropout_rate=0.0, initializer=Mimetic(head_size=64), stack=Stack(loop="unroll")
    ),
    objective=SpanCorruption(rate=0.15, mean_span=3.0),
    optimizer=Muon(
        schedule=WarmupLinear(peak=1e-2, warmup_steps=100),
        matrix_peak=0.005,
        b2=0.98,
        weight_decay=0.01,
        clip_norm=1.0,
    ),
    steps=1_500,
    accelerator_steps=6_000,
    evaluate_every=150,
    checkpoint_every=150,
    seed=0,
)
