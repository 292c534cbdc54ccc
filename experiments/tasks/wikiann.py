"""WikiANN: names of persons, organisations and places in Wikipedia, English.

Paper:   Pan et al., ACL 2017; the split of Rahimi et al., arXiv:1902.00193.
Departs: 3 epochs at 5e-5, within the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=wikiann --init=google-bert/bert-base-uncased
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("wikiann"))
