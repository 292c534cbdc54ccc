"""BERT-tiny, pre-norm: a masked language model that learns to use its context within minutes on a laptop.

Paper:   Devlin et al., arXiv:1810.04805; the 2 x 128 size from Turc et al., arXiv:1908.08962.
Departs: norms before each half of a block (arXiv:2002.04745), a unigram SentencePiece vocabulary of 4,096, no next-sentence
         task (arXiv:1907.11692), no dropout (it sees its text only a few times), the documentation of the running
         Python as its text, one head that begins at the token before and one at the token after
         (initializers.OffsetHeads); Muon for the matrices of layers, Adam for the rest.
Run:     python -m train.pretrain --exp=bert_tiny
Try:     python -m train.pretrain --exp=bert_tiny --optimizer.name lion --optimizer.schedule.peak 5e-4
Result:  experiments/results/bert_tiny.json
"""

from data.config import TextData
from data.sources import PythonDocs
from data.tokenizers.choices import SentencePiece
from model.attention import MultiHead
from model.families import bert
from model.initializers import OffsetHeads
from model.stack import Stack
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import Muon
from train.schedules import WarmupLinear

experiment = Experiment(
    data=TextData(source=PythonDocs(), tokenizer=SentencePiece(vocab_size=4_096), row_length=128, batch_size=32),
    model=bert.config(
        "tiny",
        vocab_size=4_096,
        attention=MultiHead(num_heads=2, dropout_rate=0.0),
        norm_placement="pre",
        stack=Stack(loop="unroll"),
        dropout_rate=0.0,
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
