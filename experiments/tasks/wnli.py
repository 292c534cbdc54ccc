"""WNLI: whether a sentence with a pronoun entails one with its referent; its held-out part is adversarial.

Paper:   Levesque et al., KR 2012; as a task of GLUE, Wang et al., arXiv:1804.07461.
Departs: 3 epochs at 5e-5, within the grid that BERT is tuned over (arXiv:1810.04805, appendix A.3).
Run:     python -m train.finetune --exp=wnli --init=google-bert/bert-base-uncased
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("wnli"))
