"""BERT-small with the norm before each block's halves, over SentencePiece: leaves the plateau of single words sooner.

Paper:   Xiong et al., arXiv:2002.04745, for the placement of the norms; all else as in bert_small, so that the two compare.
Departs: from bert_small in the placement of the norms and in the tokenizer, a unigram language model (arXiv:1804.10959).
         Pre-norm bears the higher rate and the shorter warm-up. It is not BERT: it cannot be exported as one.
Run:     python -m train.pretrain --exp=bert_small_prenorm
Try:     python -m train.pretrain --exp=bert_small_prenorm --steps 500 --evaluate-every 100
Result:  experiments/results/bert_small_prenorm.json
"""

from data.config import TextData
from data.sources import PythonDocs
from data.tokenizers.choices import SentencePiece
from model.families import bert
from model.stack import Stack
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.schedules import WarmupLinear

experiment = Experiment(
    data=TextData(source=PythonDocs(), tokenizer=SentencePiece(vocab_size=8_192), row_length=128, batch_size=32),
    model=bert.config("small", vocab_size=8_192, norm_placement="pre", stack=Stack(loop="unroll")),
    objective=MaskedLM(next_sentence=True),
    optimizer=AdamW(schedule=WarmupLinear(peak=1e-3, warmup_steps=25), weight_decay=0.01, clip_norm=1.0),
    steps=175,
    accelerator_steps=5_250,
    evaluate_every=25,
    checkpoint_every=25,
    seed=0,
)
