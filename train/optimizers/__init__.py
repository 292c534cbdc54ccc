"""Optimizers: small frozen values that build an optax transformation.

Each of ours clips the gradient by its global norm, leaves biases and norm scales out of the weight decay, and takes its rate
from a schedule. Fields that two of them share have one name, so that one can be put in the place of another and keep
them; those that mean something else in it are named in `not_shared`, and are not kept. One with `eval_params` is scored, kept and
exported at other weights than those that it trains.
"""

from train.optimizers.adaptive import Adafactor, AdEMAMix, Prodigy
from train.optimizers.averaged import ScheduleFree
from train.optimizers.classic import LAMB, SGD, AdamW, Lion
from train.optimizers.custom import Optax
from train.optimizers.matrices import matrix_axes
from train.optimizers.muon import Muon
from train.optimizers.parts import STACKED, decay_mask, eval_params_of

Optimizer = AdamW | Muon | Lion | LAMB | Adafactor | AdEMAMix | Prodigy | ScheduleFree | SGD | Optax

__all__ = [
    "LAMB",
    "SGD",
    "STACKED",
    "AdEMAMix",
    "Adafactor",
    "AdamW",
    "Lion",
    "Muon",
    "Optax",
    "Optimizer",
    "Prodigy",
    "ScheduleFree",
    "decay_mask",
    "eval_params_of",
    "matrix_axes",
]
