"""SST-2: whether a sentence from a film review is positive or negative.

Paper:   Socher et al., EMNLP 2013; as a task of GLUE, Wang et al., arXiv:1804.07461.
Departs: 3 epochs at 5e-5, the middle of the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=sst2 --init=google-bert/bert-base-uncased
Try:     python -m train.finetune --exp=sst2 --init=runs/bert_small --data.source 'files:train.tsv|dev.tsv'
Result:  experiments/results/glue_small.json
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("sst2"))
