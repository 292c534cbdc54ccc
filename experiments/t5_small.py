"""T5-small, 60 M parameters, as published: declared and compiled, not trained here.

Paper:   Raffel et al., arXiv:1910.10683, the small model of section 3.7 under the baseline's objective.
Departs: AdamW in the place of Adafactor.
Run:     python -m train.prepare --exp=t5_small && python -m train.pretrain --exp=t5_small
Try:     python -m train.pretrain --exp=t5_small --data.source 'files:my/*.txt' --mesh fsdp=8
Result:  none yet
"""

from data.config import TextData
from data.sources import TFDS
from data.tokenizers.choices import SentencePiece
from model.families import t5
from train.config import Experiment
from train.objectives import SpanCorruption
from train.optimizers import AdamW
from train.schedules import WarmupInverseRoot

experiment = Experiment(
    data=TextData(
        source=TFDS("c4/en"),
        tokenizer=SentencePiece(vocab_size=32_128, sentinels=100),
        row_length=512,
        batch_size=128,
    ),
    model=t5.config("small"),
    objective=SpanCorruption(rate=0.15, mean_span=3.0, z_loss=1e-4),
    optimizer=AdamW(
        schedule=WarmupInverseRoot(peak=1e-3, warmup_steps=10_000), b2=0.99, weight_decay=0.0, clip_norm=1.0
    ),
    steps=524_288,
    evaluate_every=5_000,
    checkpoint_every=5_000,
)
