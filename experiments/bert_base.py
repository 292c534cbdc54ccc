"""BERT-base as published: Wikipedia and books, 512 long, a million steps.

Paper:   Devlin et al., arXiv:1810.04805, section 3.1 and appendix A.2: 12 x 768, 256 rows of 512 tokens, Adam at 1e-4 with
         10,000 steps of warm-up and linear decay, dropout 0.1, 30k WordPiece.
Departs: books are your own text files in books/ (BooksCorpus is no longer handed out), weighted 0.8 to 2.5 as the two
         corpora's billions of words are; a recent Wikipedia; rows of 512 from the start, where the paper spends 90% of the
         steps at 128; packed rows; the gradient is clipped at 1.0 and Adam's bias is corrected; vocabulary trained anew.
Run:     python -m train.prepare --exp=bert_base && python -m train.pretrain --exp=bert_base
Try:     python -m train.pretrain --exp=bert_base --data.source python_docs --steps 2 --data.batch_size 8 --accumulate 4
         for very large batches LAMB (You et al., arXiv:1904.00962): --optimizer.name lamb --data.batch_size 8192
         --accumulate 32 --steps 31250 --optimizer.schedule.peak 2.5e-3 --optimizer.schedule.warmup_steps 1562
Result:  not trained here; it is declared, and its step is compiled without being run.
"""

from data.config import TextData
from data.sources import Mixture
from data.tokenizers.choices import WordPiece
from model.families import bert
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.schedules import WarmupLinear

experiment = Experiment(
    data=TextData(
        source=Mixture(sources=("tfds:wikipedia/20230601.en", "files:books/**/*.txt"), weights=(2.5, 0.8)),
        tokenizer=WordPiece(vocab_size=30_522),
        row_length=512,
        batch_size=256,
    ),
    model=bert.config("base", vocab_size=30_522),
    objective=MaskedLM(next_sentence=True),
    optimizer=AdamW(
        schedule=WarmupLinear(peak=1e-4, warmup_steps=10_000), b1=0.9, b2=0.999, weight_decay=0.01, clip_norm=1.0
    ),
    steps=1_000_000,
    evaluate_every=10_000,
    checkpoint_every=1_000,
    seed=0,
)
