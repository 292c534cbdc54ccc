"""SQuAD 1.1: the answer to a question as a span of a paragraph.

Paper:   Rajpurkar et al., arXiv:1606.05250.
Departs: 2 epochs at 5e-5, as the paper of BERT has it for 1.1 (arXiv:1810.04805, section 4.2).
Run:     python -m train.finetune --exp=squad --init=google-bert/bert-base-uncased
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("squad"), epochs=2)
