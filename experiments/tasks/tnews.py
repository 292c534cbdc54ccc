"""TNEWS: the topic of a Chinese news title, one of fifteen.

Paper:   Xu et al. (CLUE), arXiv:2004.05986.
Departs: 3 epochs at 5e-5, within the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=tnews --init=google-bert/bert-base-chinese
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("tnews"))
