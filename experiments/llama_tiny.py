"""Llama, 2 x 128: rotary positions, grouped heads, gated MLP, RMS norm, against counts of three tokens.

Paper:   Touvron et al., arXiv:2302.13971 and arXiv:2307.09288; grouped heads as in Llama 3, arXiv:2407.21783.
Departs: the source code of the running Python as its text, a SentencePiece vocabulary of 4,096 byte pairs trained on it, rows
         of 128, tied embeddings; Muon for the matrices of layers, Adam for the rest.
Run:     python -m train.pretrain --exp=llama_tiny
Try:     python -m train.pretrain --exp=llama_tiny --model.attention.num_kv_heads 4
Result:  experiments/results/llama_tiny.json
"""

from data.config import TextData
from data.sources import PythonSource
from data.tokenizers.choices import SentencePiece
from model.families import llama
from model.stack import Stack
from train.config import Experiment
from train.objectives import NextToken
from train.optimizers import Muon
from train.schedules import WarmupStableDecay

experiment = Experiment(
    data=TextData(
        source=PythonSource(), tokenizer=SentencePiece(vocab_size=4_096, kind="bpe"), row_length=128, batch_size=32
    ),
    model=llama.config("tiny", vocab_size=4_096, stack=Stack(loop="unroll")),
    objective=NextToken(opening="bos", closing="eos"),
    optimizer=Muon(
        schedule=WarmupStableDecay(peak=5e-3, warmup_steps=100, decay_steps=1_200),
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
