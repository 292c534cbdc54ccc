"""BERT-small with pre-norm blocks over SentencePiece, to compare with bert_small by nats_per_byte.

Paper:   Xiong et al., arXiv:2002.04745, for the placement of the norms.
Departs: from bert_small only in the placement of the norms and in the tokenizer, a unigram language model (arXiv:1804.10959).
         It is not BERT: it cannot be exported as one.
Run:     python -m train.pretrain --exp=bert_small_prenorm
Try:     python -m train.pretrain --exp=bert_small_prenorm --steps 700 --evaluate-every 100
Result:  experiments/results/bert_small_prenorm.json
"""

import dataclasses

from data.tokenizers.choices import SentencePiece
from experiments import bert_small

base = bert_small.experiment
experiment = dataclasses.replace(
    base,
    data=dataclasses.replace(base.data, tokenizer=SentencePiece(vocab_size=8_192)),
    model=dataclasses.replace(base.model, norm_placement="pre"),
)
