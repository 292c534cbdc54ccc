"""CoNLL-2003: names of persons, organisations, places and others.

Paper:   Tjong Kim Sang and De Meulder, arXiv:cs/0306050.
Departs: 3 epochs at 5e-5, within the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=conll2003 --init=google-bert/bert-base-uncased
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("conll2003"))
