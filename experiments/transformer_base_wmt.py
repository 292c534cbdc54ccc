"""The first transformer, base, on English to German: declared and compiled, not trained here.

Paper:   Vaswani et al., arXiv:1706.03762, sections 5 and 6.1: BLEU 27.3 on newstest2014.
Departs: the vocabulary of 37,000 pieces is trained by SentencePiece, and a step has 64 rows of 384 places on each side, about
         the paper's 25,000 tokens.
Run:     python -m train.prepare --exp=transformer_base_wmt && python -m train.pretrain --exp=transformer_base_wmt
Try:     python -m train.pretrain --exp=transformer_base_wmt --data.source 'pairs:my.en|my.de'
Result:  none yet
"""

from data.config import TextData
from data.sources import TFDS
from data.tokenizers.choices import SentencePiece
from model.families import vaswani
from train.config import Experiment
from train.objectives import SequenceToSequence
from train.optimizers import AdamW
from train.schedules import WarmupInverseRoot

WIDTH, WARM_UP = 512, 4_000

experiment = Experiment(
    data=TextData(
        source=TFDS("wmt14_translate/de-en", field="en>de"),
        tokenizer=SentencePiece(vocab_size=37_000, kind="bpe"),
        row_length=384,
        batch_size=64,
    ),
    model=vaswani.config("base"),
    objective=SequenceToSequence(label_smoothing=0.1),
    optimizer=AdamW(
        schedule=WarmupInverseRoot(peak=WIDTH**-0.5 * WARM_UP**-0.5, warmup_steps=WARM_UP),
        b2=0.98,
        epsilon=1e-9,
        weight_decay=0.0,
        clip_norm=None,
    ),
    steps=100_000,
    evaluate_every=1_000,
    checkpoint_every=1_000,
)
