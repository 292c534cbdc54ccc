"""RoBERTa, 2 x 128: masked-language modelling alone, masks drawn anew each time, over byte-level BPE.

Paper:   Liu et al., arXiv:1907.11692; the 2 x 128 size from Turc et al., arXiv:1908.08962.
Departs: the documentation of the running Python as its text, a vocabulary of 4,096 trained on it, rows of 128, no dropout,
         norms before each half of a block, one head that begins at the token before and one at the token after
         (initializers.OffsetHeads); Muon for the matrices of layers, Adam for the rest.
Run:     python -m train.pretrain --exp=roberta_tiny
Try:     python -m train.pretrain --exp=roberta_tiny --objective.masking.unit.name words
Result:  experiments/results/roberta_tiny.json
"""

from data.config import TextData
from data.sources import PythonDocs
from data.tokenizers.choices import ByteBPE
from model.attention import MultiHead
from model.families import roberta
from model.initializers import OffsetHeads
from model.stack import Stack
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import Muon
from train.schedules import WarmupLinear

experiment = Experiment(
    data=TextData(
        source=PythonDocs(), tokenizer=ByteBPE(vocab_size=4_096, specials="roberta"), row_length=128, batch_size=32
    ),
    model=roberta.config(
        "tiny",
        vocab_size=4_096,
        attention=MultiHead(num_heads=2, dropout_rate=0.0),
        norm_placement="pre",
        dropout_rate=0.0,
        stack=Stack(loop="unroll"),
        initializer=OffsetHeads(0.02),
    ),
    objective=MaskedLM(next_sentence=False),
    optimizer=Muon(
        schedule=WarmupLinear(peak=2e-3, warmup_steps=100), matrix_peak=0.02, b2=0.98, weight_decay=0.01, clip_norm=1.0
    ),
    steps=1_500,
    accelerator_steps=6_000,
    evaluate_every=150,
    checkpoint_every=150,
    seed=0,
)
