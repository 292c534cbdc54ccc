"""XSum: one sentence that sums up a news article.

Paper:   Narayan et al., arXiv:1808.08745.
Departs: 3 epochs of AdamW at 3e-4, where T5 was tuned with Adafactor at 1e-3 (arXiv:1910.10683).
Run:     python -m train.finetune --exp=xsum --init=google-t5/t5-small
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("xsum"), peak=3e-4)
