"""MRPC: whether two sentences say the same.

Paper:   Dolan and Brockett, IWP 2005; as a task of GLUE, Wang et al., arXiv:1804.07461.
Departs: 3 epochs at 5e-5, within the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=mrpc --init=google-bert/bert-base-uncased
Result:  experiments/results/glue_small.json
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("mrpc"))
