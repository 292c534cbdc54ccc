"""Multi30k: English captions of pictures into German.

Paper:   Elliott et al., arXiv:1605.00459.
Departs: 3 epochs of AdamW at 3e-4, where T5 was tuned with Adafactor at 1e-3 (arXiv:1910.10683).
Run:     python -m train.finetune --exp=multi30k --init=google-t5/t5-small
"""

from data.tasks.known import known_task
from train.fine_tuning import fine_tuning

experiment = fine_tuning(known_task("multi30k"), peak=3e-4)
