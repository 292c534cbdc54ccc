"""Did you mean ...? The nearest known word, and the field that a name from elsewhere stands for here."""

import difflib
from collections.abc import Iterable

# The name of a field in other code -> its name here. The last word of a dotted flag is looked up.
ALIASES = {
    "learning_rate": "optimizer.schedule.peak",
    "lr": "optimizer.schedule.peak",
    "max_lr": "optimizer.schedule.peak",
    "peak_lr": "optimizer.schedule.peak",
    "min_lr": "optimizer.schedule.final",
    "warmup": "optimizer.schedule.warmup_steps",
    "num_warmup_steps": "optimizer.schedule.warmup_steps",
    "lr_scheduler_type": "optimizer.schedule.name",
    "scheduler": "optimizer.schedule.name",
    "optim": "optimizer.name",
    "wd": "optimizer.weight_decay",
    "decay": "optimizer.weight_decay",
    "beta1": "optimizer.b1",
    "adam_beta1": "optimizer.b1",
    "beta2": "optimizer.b2",
    "adam_beta2": "optimizer.b2",
    "eps": "optimizer.epsilon",
    "adam_epsilon": "optimizer.epsilon",
    "grad_clip": "optimizer.clip_norm",
    "max_grad_norm": "optimizer.clip_norm",
    "clip": "optimizer.clip_norm",
    "batch": "data.batch_size",
    "per_device_train_batch_size": "data.batch_size",
    "train_batch_size": "data.batch_size",
    "seq_len": "data.row_length",
    "seq_length": "data.row_length",
    "sequence_length": "data.row_length",
    "max_seq_length": "data.row_length",
    "block_size": "data.row_length",
    "context_length": "data.row_length",
    "dataset": "data.source",
    "vocab": "data.tokenizer.vocab_size",
    "vocab_size": "data.tokenizer.vocab_size",
    "max_steps": "steps",
    "num_steps": "steps",
    "train_steps": "steps",
    "iterations": "steps",
    "max_iters": "steps",
    "epochs": "steps",
    "num_train_epochs": "steps",
    "eval_every": "evaluate_every",
    "eval_steps": "evaluate_every",
    "eval_interval": "evaluate_every",
    "save_every": "checkpoint_every",
    "save_steps": "checkpoint_every",
    "gradient_accumulation_steps": "accumulate",
    "grad_accum": "accumulate",
    "dtype": "compute_dtype",
    "precision": "compute_dtype",
    "bf16": "compute_dtype",
    "fp16": "compute_dtype",
    "mask_prob": "objective.masking.rate",
    "mlm_probability": "objective.masking.rate",
    "masking_rate": "objective.masking.rate",
    "nsp": "objective.next_sentence",
    "sop": "objective.sentence_order",
    "d_model": "model.hidden_size",
    "n_embd": "model.hidden_size",
    "dim": "model.hidden_size",
    "width": "model.hidden_size",
    "n_layer": "model.num_layers",
    "layers": "model.num_layers",
    "num_hidden_layers": "model.num_layers",
    "depth": "model.num_layers",
    "n_head": "model.attention.num_heads",
    "heads": "model.attention.num_heads",
    "num_attention_heads": "model.attention.num_heads",
    "d_ff": "model.mlp.intermediate_size",
    "dropout": "model.dropout_rate",
    "max_position_embeddings": "model.positions.max_length",
    "output_dir": "run_dir",
    "out_dir": "run_dir",
    "logdir": "run_dir",
    "workdir": "run_dir",
    "num_workers": "workers",
    "wandb": "track",
    "report_to": "track",
    "init_from": "init",
    "checkpoint": "init",
    "keep_checkpoints": "keep_last",
    "save_total_limit": "keep_last",
    "config": "exp",
    "experiment": "exp",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like this one, or None where none does.

    >>> nearest("bert_smal", ["bert_base", "bert_small"])
    'bert_small'
    """
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_field(path: str, known: Iterable[str]) -> str | None:
    """The known dotted field that a mistaken one stands for: by alias, by its last word, or by looks.

    >>> fields = ["steps", "optimizer.schedule.peak", "optimizer.weight_decay", "data.batch_size"]
    >>> [nearest_field(word, fields) for word in ("optimizer.lr", "batch_size", "optimizer.wieght_decay", "zzz")]
    ['optimizer.schedule.peak', 'data.batch_size', 'optimizer.weight_decay', None]
    """
    known = list(known)
    last = path.rpartition(".")[2]
    if ALIASES.get(last) in known:
        return ALIASES[last]
    if path in known:
        return path
    same = [field for field in known if field.rpartition(".")[2] == last]
    if same:
        return nearest(path, same) or same[0]
    ours = [field.rpartition(".")[2] for field in known]
    alike = nearest(last, [*ours, *(word for word, field in ALIASES.items() if field in known)])
    if alike in ours:
        same = [field for field in known if field.rpartition(".")[2] == alike]
        return nearest(path, same) or same[0]
    return ALIASES[alike] if alike else nearest(path, known)
