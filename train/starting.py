"""Step 0 of a run: weights drawn from its seed, those of another run, or those of a published folder."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from data.tokenizers import Tokenizer
from model.encoder import Encoder, MaskedLanguageModel
from model.peft import attach
from model.publishing import architecture_of, differences
from model.weights import open_published
from train.base import REMEDY, SHOWN, Base, BaseError, Start, digest_of, read_kept
from train.config import Experiment
from train.head_labels import head_for_task
from train.pretrained import Pretrained, find_folder, is_published, load
from train.run import Run, RunError
from train.state import (
    TASK_HEADS,
    Beside,
    Built,
    Params,
    TrainState,
    build,
    draw_params,
    fresh_state,
    init_state,
    split_model,
)

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


class Weights(NamedTuple):
    """Weights of another model by the paths that they have in ours, and the step of the run that they are of."""

    given: dict[str, Any]
    step: int | None


class First(NamedTuple):
    """Step 0, and what must be known to make it again.

    Attributes:
        state: the state before the first step.
        base: where weights came from; None where all are drawn.
        given: those weights by their paths.
        drawn: parameters that are never trained though they came from nowhere: they must be kept.
    """

    state: TrainState
    base: Base | None
    given: dict[str, Any]
    drawn: dict[str, Any]


def first_state(
    experiment: Experiment,
    built: Built,
    start: Start,
    tokenizer: Tokenizer,
    say: Callable[[str], None] = print,
    *,
    in_order: bool = False,
) -> First:
    """Step 0: weights drawn from the seed, or those of the run or of the published folder given by --init.

    `in_order` says that the user gave the labels of a task in order, by which a head without names for its rows is taken.

    BaseError where a run that was begun stands on weights that are gone or are others.
    """
    plain = plainly(experiment, built)
    if start.init is None and experiment.tuning.mixout:
        raise RunError("tuning.mixout goes back to weights that were trained before; name them with --init")
    kept = {} if start.kept is None else read_kept(start.folder, start.kept)
    base, given = start.base, {}
    if start.init is not None and not start.fresh and (start.asked or not start.whole):
        base, given = base_of(experiment, built, start, tokenizer, say, in_order=in_order)
    given = {name: leaf for name, leaf in kept.items() if name in flat(plain.target.params)} | given
    make = lambda rngs: experiment.objective.build(experiment.model, rngs)  # noqa: E731
    if experiment.peft is None and not given:
        return First(init_state(make, experiment.seed, built.optimizer, built.target), base, given, {})

    def place(path: Any, drawn: jax.Array, target: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put(given.get(keystr(path), drawn), target.sharding)

    drawn_params = draw_params(make, experiment.seed, plain.target.params)
    params = jax.tree_util.tree_map_with_path(place, drawn_params, plain.target.params)
    del drawn_params
    beside = Beside(built.target.mean is not None, built.target.origin is not None)
    where = jax.tree.map(lambda leaf: leaf.sharding, built.target)

    def begin(trained: Params, frozen: Params | None) -> TrainState:
        return fresh_state(trained, built.optimizer, frozen, beside)

    if experiment.peft is None:
        started = jax.jit(begin, out_shardings=where, static_argnums=1)(params, None)
        return First(started, base, given, {})
    left = {path: leaf for path, leaf in flat(params).items() if path not in given}
    drawn = {path: leaf for path, leaf in left.items() if path not in (built.parts.trained or ())}
    # What is added may be made of the weights, so it comes after them.
    tuned = split_model(attach(plain.parts.merge(params), experiment.peft, nnx.Rngs(experiment.seed))).params
    trained, frozen = built.parts.divide(tuned)
    return First(jax.jit(begin, out_shardings=where)(trained, frozen), base, given, drawn)


def plainly(experiment: Experiment, built: Built) -> Built:
    """The same without the few parameters that are added."""
    if experiment.peft is None:
        return built
    return build(dataclasses.replace(experiment, peft=None), built.mesh, to_train=built.target.optimizer is not None)


def base_of(
    experiment: Experiment,
    built: Built,
    start: Start,
    tokenizer: Tokenizer,
    say: Callable[[str], None],
    *,
    in_order: bool = False,
) -> tuple[Base | None, dict[str, Any]]:
    """The weights of the base of a run by their paths, and where they lie.

    A run that was begun gets those that it was begun with, looked for where they were and where the user says, at the step at
    which they were taken, or whatever the newest is. BaseError names what was found instead.
    """
    plain = plainly(experiment, built)

    def read(place: str, step: int | None) -> Weights:
        return weights_of(place, step, experiment, plain, tokenizer, say, in_order)

    assert start.init is not None
    if start.base is None:
        place = start.asked or start.init
        given, step = read(place, None)
        return Base.found(start.folder, place, step, digest_of(body(given))), given
    reasons = []
    for place in [start.asked] if start.asked else start.base.places(start.folder):
        for step in start.base.steps_at(place):
            try:
                given, step = read(place, step)
            except (ValueError, RuntimeError) as error:
                if getattr(error, "exit_code", None) is None:
                    raise
                reasons.append(" ".join(str(error).split()))
                continue
            if (digest := digest_of(body(given))) == start.base.digest:
                return dataclasses.replace(Base.found(start.folder, place, step, digest), name=start.base.name), given
            reasons.append(f"{place}{'' if step is None else f' at step {step}'} has the digest {digest[:SHOWN]}")
    raise BaseError(
        f"{start.folder} stands on {start.base}, which is not there: {'; '.join(dict.fromkeys(reasons))}; {REMEDY}"
    )


def body(given: dict[str, Any]) -> dict[str, Any]:
    """Weights without the heads of tasks: those are trained, lie in the checkpoints, and are taken or not by their labels."""
    return {path: leaf for path, leaf in given.items() if not path.startswith(TASK_HEADS)}


def weights_of(
    init: str,
    step: int | None,
    experiment: Experiment,
    plain: Built,
    tokenizer: Tokenizer,
    say: Callable[[str], None],
    in_order: bool,
) -> Weights:
    """The weights of a run, at its newest checkpoint or at `step`, or of a published folder. RunError where they do not fit."""
    if experiment.is_task:
        from train.origin import Origin  # which reads runs, and so knows of this

        origin = Origin.open(init, step)
        lines: list[str] = []
        params, step = origin.weights(plain.mesh)
        theirs = head_for_task(
            init, flat(params), origin.head, experiment.task_data.task, in_order=in_order, say=lines.append
        )
        for line in lines:
            say(line)
        return Weights(fitted(init, theirs, plain, say, told=("classifier",) if lines else ()), step)
    if is_published(init):
        pretrained = load(init, mesh=plain.mesh)
        check_published(init, pretrained, experiment, plain, tokenizer)
        return Weights(fitted(init, flat(split_model(pretrained.model).params), plain, say), None)
    run = Run.open(init, step)
    if run.tokenizer.fingerprint != tokenizer.fingerprint:
        raise RunError(f"--init {init} has another vocabulary than data.tokenizer; train with that run's tokenizer")
    check_shapes(init, run.params, plain.parts.params)
    return Weights(flat(run.params), run.step)


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
