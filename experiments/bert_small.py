"""BERT-small, masked-language and next-sentence pre-training.

Paper:   Devlin et al., arXiv:1810.04805; the 4 x 512 size from Turc et al., arXiv:1908.08962.
Departs: trained on the documentation of the running Python, so that it needs no download; 8k WordPiece vocabulary. It sees
         that text fewer than three times, 1.4 million tokens in 350 steps of 32 x 128, and the recipe is for few tokens:
         heads that begin at their neighbours (initializers.OffsetHeads); Muon for the matrices of layers and Adam for the
         rest; a rate that stays at its peak for 130 steps and falls over the last 200; 40% of the tokens hidden
         (arXiv:2202.08005), scored with 15%; no dropout. On a GPU or TPU 5,250 steps, some forty times through the text;
         a longer run wants a longer fall, as in the first line of Try.
Run:     python -m train.pretrain --exp=bert_small
Try:     python -m train.pretrain --exp=bert_small --steps 700 --optimizer.schedule.decay-steps 400 --run-dir runs/longer
         python -m train.pretrain --exp=bert_small --data.source tfds:wikipedia/20230601.en --steps 1e5
Result:  experiments/results/bert_small.json
"""

from data.config import TextData
from data.masking import Masking
from data.sources import PythonDocs
from data.tokenizers.choices import WordPiece
from model.attention import MultiHead
from model.families import bert
from model.initializers import OffsetHeads
from model.stack import Stack
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import Muon
from train.schedules import WarmupStableDecay

experiment = Experiment(
    data=TextData(source=PythonDocs(), tokenizer=WordPiece(vocab_size=8_192), row_length=128, batch_size=32),
    model=bert.config(
        "small",
        vocab_size=8_192,
        attention=MultiHead(num_heads=8, dropout_rate=0.0),
        dropout_rate=0.0,
        initializer=OffsetHeads(0.02),
        stack=Stack(loop="unroll"),
    ),
    objective=MaskedLM(masking=Masking(rate=0.4, scored_rate=0.15), next_sentence=True),
    optimizer=Muon(
        schedule=WarmupStableDecay(peak=1e-3, warmup_steps=20, decay_steps=200),
        matrix_peak=0.02,
        b2=0.98,
        weight_decay=0.01,
        clip_norm=1.0,
    ),
    steps=350,
    accelerator_steps=5_250,
    evaluate_every=50,
    checkpoint_every=50,
    seed=0,
)
