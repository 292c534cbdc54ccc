"""PIQA: the better of two ways to a goal.

Paper:   Bisk et al., arXiv:1911.11641.
Departs: 3 epochs at 5e-5, within the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=piqa --init=google-bert/bert-base-uncased
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("piqa"))
