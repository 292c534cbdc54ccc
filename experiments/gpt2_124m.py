"""GPT-2, 124 M parameters, as published: declared and compiled, not trained here.

Paper:   Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
Departs: C4 in the place of WebText, which was never released; the rates of GPT-3's smallest model, arXiv:2005.14165.
Run:     python -m train.prepare --exp=gpt2_124m && python -m train.pretrain --exp=gpt2_124m
Try:     python -m train.pretrain --exp=gpt2_124m --data.source 'files:my/*.txt' --mesh fsdp=8
Result:  none yet
"""

from data.config import TextData
from data.sources import TFDS
from data.tokenizers.choices import ByteBPE
from model.families import gpt2
from train.config import Experiment
from train.objectives import NextToken
from train.optimizers import AdamW
from train.schedules import WarmupCosine

experiment = Experiment(
    data=TextData(source=TFDS("c4/en"), tokenizer=ByteBPE(vocab_size=50_257), row_length=1_024, batch_size=512),
    model=gpt2.config("small"),
    objective=NextToken(opening="bos", closing="eos"),
    optimizer=AdamW(
        schedule=WarmupCosine(peak=6e-4, warmup_steps=2_000, final=0.1),
        b2=0.95,
        epsilon=1e-8,
        weight_decay=0.1,
        clip_norm=1.0,
    ),
    steps=600_000,
    evaluate_every=2_000,
    checkpoint_every=2_000,
)
