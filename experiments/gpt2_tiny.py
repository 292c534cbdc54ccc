"""GPT-2, 2 x 128: a language model of code that beats counts of three tokens within minutes on a laptop.

Paper:   Radford et al. 2019, Language Models are Unsupervised Multitask Learners; the 2 x 128 size is Turc et al.'s for BERT.
Departs: the source code of the running Python as its text, a byte-level BPE vocabulary of 4,096 trained on it, rows of 128,
         no dropout (it sees its text less than three times), heads that begin one and two tokens back
         (initializers.OffsetHeads); Muon for the matrices of layers, Adam for the rest.
Run:     python -m train.pretrain --exp=gpt2_tiny
Try:     python -m train.pretrain --exp=gpt2_tiny --data.source python_docs
Result:  experiments/results/gpt2_tiny.json
"""

from data.config import TextData
from data.sources import PythonSource
from data.tokenizers.choices import ByteBPE
from model.attention import MultiHead
from model.families import gpt2
from model.initializers import OffsetHeads
from model.stack import Stack
from train.config import Experiment
from train.objectives import NextToken
from train.optimizers import Muon
from train.schedules import WarmupCosine

experiment = Experiment(
    data=TextData(source=PythonSource(), tokenizer=ByteBPE(vocab_size=4_096), row_length=128, batch_size=32),
    model=gpt2.config(
        "tiny",
        vocab_size=4_096,
        max_length=256,
        attention=MultiHead(num_heads=2, dropout_rate=0.0),
        dropout_rate=0.0,
        stack=Stack(loop="unroll"),
        initializer=OffsetHeads(0.02),
    ),
    objective=NextToken(opening="bos", closing="eos"),
    optimizer=Muon(
        schedule=WarmupCosine(peak=3e-3, warmup_steps=100, final=0.05),
        matrix_peak=0.02,
        b2=0.98,
        weight_decay=0.1,
        clip_norm=1.0,
    ),
    steps=2_000,
    accelerator_steps=6_000,
    evaluate_every=200,
    checkpoint_every=200,
    seed=0,
)
