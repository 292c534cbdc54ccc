"""SQuAD 2.0: the answer as a span of a paragraph, or that there is none.

Paper:   Rajpurkar et al., arXiv:1806.03822.
Departs: 2 epochs at 5e-5, as the paper of BERT has it for 1.1 (arXiv:1810.04805, section 4.2).
Run:     python -m train.finetune --exp=squad2 --init=google-bert/bert-base-uncased
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("squad2"), epochs=2)
