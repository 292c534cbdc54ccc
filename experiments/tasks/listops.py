"""ListOps: the value of a bracketed expression of lists, one of ten digits.

Paper:   Nangia and Bowman, arXiv:1804.06028.
Departs: 3 epochs at 5e-5, within the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=listops --init=google-bert/bert-base-uncased
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("listops"))
