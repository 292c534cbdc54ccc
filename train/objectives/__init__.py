"""Objectives: what a row hides, and what a model is asked about it.

An objective has two halves. On the host it says how documents become rows and how a row is corrupted (numpy, in data/). On
the device it turns a model and a batch into loss *terms*. A term is a sum and a count, never a mean: micro-batches, devices
and padding then add up exactly, and the training step divides once, by the count of the whole batch.

What the one training loop asks of an objective is in `train.objectives.interface`.
"""

from train.objectives.interface import HeldOut, Means, Measured, Objective, Sample, Trainable
from train.objectives.masked import MaskedLM
from train.objectives.next_token import NextToken, PrefixLM
from train.objectives.source_target import SequenceToSequence, SpanCorruption

__all__ = [
    "HeldOut",
    "MaskedLM",
    "Means",
    "Measured",
    "NextToken",
    "Objective",
    "PrefixLM",
    "Sample",
    "SequenceToSequence",
    "SpanCorruption",
    "Trainable",
]
