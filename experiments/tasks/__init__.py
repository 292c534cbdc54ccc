"""Experiments that fine-tune, one file a task: python -m train.finetune --exp=TASK --init=RUN_OR_PUBLISHED_FOLDER"""
