"""Which part of the standard library a docstring documents: the embedded task, which needs no download.

Question: what is a few minutes of pre-training on a text worth to a task on the same text? `--fresh` is the control.
Run:      python -m train.finetune --exp=library_parts --init=runs/bert_tiny
Try:      python -m train.finetune --exp=library_parts --init=runs/bert_tiny --fresh --seeds 3
Result:   experiments/results/library_parts.json
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("library_parts"), epochs=10, peak=5e-4, evaluate_every=100, checkpoint_every=100)
