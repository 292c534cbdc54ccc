"""CNN/Daily Mail: highlights of news articles.

Paper:   See et al., arXiv:1704.04368.
Departs: 3 epochs of AdamW at 3e-4, where T5 was tuned with Adafactor at 1e-3 (arXiv:1910.10683).
Run:     python -m train.finetune --exp=cnn_dailymail --init=google-t5/t5-small
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("cnn_dailymail"), peak=3e-4)
