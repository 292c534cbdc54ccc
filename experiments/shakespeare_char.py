"""nanoGPT on the characters of Shakespeare, its settings for a CPU.

Paper:   the recipe of nanoGPT (Karpathy 2022), config/train_shakespeare_char.py with the README's settings for a CPU.
Departs: windows of the text are dealt out epoch by epoch, where nanoGPT draws them with replacement.
Needs:   tinyshakespeare's input.txt, in LOUPE_DATA/tinyshakespeare or by --data.source 'files:input.txt#whole'.
Run:     python -m train.pretrain --exp=shakespeare_char
Try:     python -m train.pretrain --exp=shakespeare_char --model.positions.name rotary
Result:  experiments/results/shakespeare.json, by python -m experiments.reproduce shakespeare
"""

from data.config import TextData
from data.sources import Files
from data.tokenizers.choices import Characters
from experiments.local_data import local
from model.attention import MultiHead
from model.config import TransformerConfig
from model.initializers import Normal
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.positions import LearnedPositions
from model.stack import Stack
from train.config import Experiment
from train.objectives import NextToken
from train.optimizers import AdamW
from train.schedules import WarmupCosine

experiment = Experiment(
    data=TextData(
        source=Files(local("tinyshakespeare/input.txt"), blank_lines=False),
        tokenizer=Characters(specials=False),
        row_length=64,
        batch_size=12,
        valid_split="tail",
        valid_fraction=0.1,
    ),
    model=TransformerConfig(
        vocab_size=65,
        hidden_size=128,
        num_layers=4,
        attention=MultiHead(num_heads=4, bias=False, dropout_rate=0.0),
        mlp=PlainMLP(intermediate_size=512, activation="gelu", bias=False),
        positions=LearnedPositions(max_length=64),
        norm=LayerNorm(epsilon=1e-5, bias=False),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=0.0,
        initializer=Normal(0.02, scale_output=True),
        stack=Stack(loop="unroll"),
    ),
    objective=NextToken(opening=None, closing=None),
    optimizer=AdamW(
        schedule=WarmupCosine(peak=1e-3, warmup_steps=100, final=0.1),
        b2=0.99,
        epsilon=1e-8,
        weight_decay=0.1,
        clip_norm=1.0,
    ),
    steps=2_000,
    evaluate_every=250,
    checkpoint_every=500,
)
