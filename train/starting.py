"""Step 0 of a run: weights drawn from its seed, those of another run, or those of a published folder."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np
from flax import nnx

from data.tokenizers import Tokenizer
from model.encoder import Encoder, MaskedLanguageModel
from model.peft import attach
from model.publishing import architecture_of, differences
from model.weights import open_published
from train.config import Experiment
from train.head_labels import head_for_task
from train.pretrained import Pretrained, find_folder, is_published, load
from train.run import Run, RunError
from train.state import Beside, Built, Params, TrainState, begun, build, fresh_state, init_state, split_model

# What stands on the hidden states. A published folder may lack such parts, or have some that this training has no use for.
HEADS = ("token_head", "pair_head", "pooler", "classifier", "ends", "choices", "decoder")
POOLERS = (
    "pooler.",
    "pair_head.pooler.",
)  # of one layer: its own name, and where it belongs to the question about pairs
OPTIONS = ("pooler", "next_sentence", "num_classes")
PROBED = 1_000  # pieces
PROBE = ["The cat sat on 3 mats.", "naïve Café", "  two  spaces", "Привет 語言 🙂"]


def rows_needed(init: str | None, tokenizer: Tokenizer) -> int:
    """Rows of the table of embeddings: one a token, or those of the published folder, which may have some to spare."""
    if init is None or not is_published(init):
        return tokenizer.vocab_size
    return max(tokenizer.vocab_size, open_published(find_folder(init)).architecture.config.vocab_size)


def first_state(
    experiment: Experiment,
    built: Built,
    init: str | None,
    tokenizer: Tokenizer,
    say: Callable[[str], None] = print,
    *,
    in_order: bool = False,
) -> TrainState:
    """Step 0: weights drawn from the seed, or those of the run or of the published folder given by --init.

    `in_order` says that a task was given its labels in order, by which a head without names for its rows is taken.
    """
    plain = built if experiment.peft is None else build(dataclasses.replace(experiment, peft=None), built.mesh)
    if init is None and experiment.tuning.mixout:
        raise RunError("tuning.mixout goes back to weights that were trained before; name them with --init")
    if init is None:
        given = {}
    elif experiment.is_task:
        from train.origin import Origin  # which reads runs, and so knows of this

        origin = Origin.open(init)
        task, lines = experiment.task_data.task, []
        theirs = flat(origin.weights(built.mesh))
        theirs = head_for_task(init, theirs, origin.head, task, in_order=in_order, say=lines.append)
        for line in lines:
            say(line)
        given = fitted(init, theirs, plain, say, told=("classifier",) if lines else ())
    elif is_published(init):
        pretrained = load(init, mesh=built.mesh)
        check_published(init, pretrained, experiment, plain, tokenizer)
        given = fitted(init, flat(split_model(pretrained.model).params), plain, say)
    else:
        run = Run.open(init)
        if run.tokenizer.fingerprint != tokenizer.fingerprint:
            raise RunError(f"--init {init} has another vocabulary than data.tokenizer; train with that run's tokenizer")
        check_shapes(init, run.params, plain.parts.params)
        given = flat(run.params)
    make = lambda rngs: experiment.objective.build(experiment.model, rngs)  # noqa: E731
    state = init_state(make, experiment.seed, plain.optimizer, plain.target)

    def place(path: Any, drawn: jax.Array, target: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put(given.get(keystr(path), drawn), target.sharding)

    params = jax.tree_util.tree_map_with_path(place, state.params, plain.target.params)
    beside = Beside(built.target.mean is not None, built.target.origin is not None)
    if experiment.peft is None:
        return begun(state, params, beside)
    # What is added may be made of the weights, so it comes after them.
    tuned = split_model(attach(plain.parts.merge(params), experiment.peft, nnx.Rngs(experiment.seed))).params
    trained, frozen = built.parts.divide(tuned)
    where = jax.tree.map(lambda leaf: leaf.sharding, built.target)

    def begin(trained: Params, frozen: Params) -> TrainState:
        return fresh_state(trained, built.optimizer, frozen, beside)

    return jax.jit(begin, out_shardings=where)(trained, frozen)


def check_published(
    init: str, pretrained: Pretrained, experiment: Experiment, built: Built, tokenizer: Tokenizer
) -> None:
    """RunError where a published model is not the one that is to be trained, or was trained with another vocabulary."""
    theirs = pretrained.tokenizer
    if theirs is not None and not same(theirs, tokenizer):
        remedy = f"--data.tokenizer.name tokenizer_json --data.tokenizer.path {pretrained.folder}/tokenizer.json"
        raise RunError(f"--init {init} has another vocabulary than data.tokenizer; train with that one: {remedy}")
    ours, there = architecture_of(built.parts.merge(built.parts.params)), pretrained.architecture
    free = set(OPTIONS)
    if there.make is Encoder and ours.make is MaskedLanguageModel:
        free |= {"class", "output"}  # it has no head
    strange = [(path, here, other) for path, here, other in differences(ours, there) if path.split(".")[0] not in free]
    if strange:
        named = "; ".join(f"{path} is {other!r} there and {here!r} here" for path, here, other in strange)
        raise RunError(f"--init {init} is another model: {named}; set --model.… as it is there")


def fitted(
    init: str, given: dict[str, Any], built: Built, say: Callable[[str], None], told: Collection[str] = ()
) -> dict[str, jax.Array]:
    """The weights of another model by the paths of ours; heads that it lacks are left out, and said, but for those `told` of.

    RunError where they differ in anything but heads.
    """
    wanted = flat(built.parts.params)
    given = pooler_of(given, wanted)
    shapes = {path: leaf.shape for path, leaf in given.items()}
    drawn = sorted(path for path, leaf in wanted.items() if shapes.get(path) != leaf.shape)
    aside = sorted(path for path in given if path not in wanted or path in drawn)
    for path in (*drawn, *aside):
        if not path.startswith(HEADS):
            here = wanted[path].shape if path in wanted else "missing"
            raise RunError(
                f"--init {init} has other weights than this model: {path} is {shapes.get(path, 'missing')} there and {here} "
                "here; leave --model.… out, or set it as it is there"
            )
    if lacking := [part for part in parts(drawn) if part not in told]:
        say(f"{init} has no {', '.join(lacking)}: drawn from the seed")
    if aside := [path for path in aside if path not in drawn]:
        say(f"{init} has a {', '.join(parts(aside))} that this objective does not use: left aside")
    return {path: leaf for path, leaf in given.items() if path in wanted and path not in drawn}


def pooler_of(given: dict[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Parameters by their paths, BERT's pooler under the name that is wanted: it has two.

    >>> pooler_of({"pair_head.pooler.bias": 1, "layers.x": 2}, ["pooler.bias", "layers.x"])
    {'pooler.bias': 1, 'layers.x': 2}
    """

    def renamed(path: str) -> str:
        for here, there in (POOLERS, POOLERS[::-1]):
            other = there + path.removeprefix(here)
            if path.startswith(here) and path not in wanted and other in wanted and other not in given:
                return other
        return path

    return {renamed(path): leaf for path, leaf in given.items()}


def same(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers give the same ids: to texts that find out how they normalise, and to words of their own.

    Their pieces may be spelled in different ways, as bytes are.
    """
    words = " ".join(one.pieces[:: max(1, len(one.pieces) // PROBED)])
    return one.vocab_size == other.vocab_size and all(
        np.array_equal(one.encode(text), other.encode(text)) for text in (*PROBE, words)
    )


def flat(params: Params) -> dict[str, Any]:
    """Parameters by their dotted paths."""
    return {keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def keystr(path: Any) -> str:
    """A path of a tree in dotted form."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def parts(paths: list[str]) -> list[str]:
    """The heads that some parameters belong to.

    >>> parts(["pair_head.classifier.bias", "pair_head.classifier.kernel", "pair_head.pooler.kernel", "token_head.bias"])
    ['pair_head', 'token_head']
    """
    return sorted({path.split(".")[0] for path in paths})


def check_shapes(init: str, theirs: Params, ours: Params) -> None:
    """RunError with the first parameter in which two models differ."""
    there, here = ({path: leaf.shape for path, leaf in flat(params).items()} for params in (theirs, ours))
    for name in sorted(there | here):
        if there.get(name) != here.get(name):
            raise RunError(
                f"--init {init} has other weights than this model: "
                f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
            )
