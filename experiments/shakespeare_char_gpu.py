"""nanoGPT on the characters of Shakespeare, its settings for a GPU: 6 x 384, context 256; 1.4697 is published.

Paper:   the recipe of nanoGPT (Karpathy 2022), config/train_shakespeare_char.py.
Departs: as experiments/shakespeare_char.py.
Needs:   the same file.
Run:     python -m train.pretrain --exp=shakespeare_char_gpu
Try:     python -m train.pretrain --exp=shakespeare_char_gpu --steps 200
Result:  none yet: it takes minutes on a GPU and more than a day on two cores.
"""

import dataclasses

from experiments import shakespeare_char
from model.attention import MultiHead
from model.mlp import PlainMLP
from model.positions import LearnedPositions

small = shakespeare_char.experiment
experiment = dataclasses.replace(
    small,
    data=dataclasses.replace(small.data, row_length=256, batch_size=64),
    model=dataclasses.replace(
        small.model,
        hidden_size=384,
        num_layers=6,
        attention=MultiHead(num_heads=6, bias=False, dropout_rate=0.2),
        mlp=PlainMLP(intermediate_size=1_536, activation="gelu", bias=False),
        positions=LearnedPositions(max_length=256),
        dropout_rate=0.2,
    ),
    steps=5_000,
)
