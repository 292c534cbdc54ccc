"""The attention of a model on a text: python -m train.inspect RUN_OR_DIR "TEXT" --out maps.html

Writes one page that needs no network: maps of all heads, lines from word to word, layers by heads. Several texts are
compared in one page, and so is one text at several checkpoints of a run (--step 100,1000,4000).
"""

from typing import Any

from data.cache import user_path
from data.errors import named
from train.command import Parser, configure_jax, start


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser(prog="python -m train.inspect", description=__doc__)
    parser.add_argument("model", metavar="RUN_OR_DIR", help="a run folder, or a published one")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="what is read; several are compared")
    parser.add_argument("--target", metavar="TEXT", help="what the decoder of an encoder-decoder reads")
    parser.add_argument("--out", metavar="FILE", help="the page; maps.html")
    parser.add_argument(
        "--kind", choices=("encoder", "decoder", "cross"), help="whose attention, where there are several"
    )
    parser.add_argument("--layers", metavar="N,N", type=numbers, help="only these layers")
    parser.add_argument("--heads", metavar="N,N", type=numbers, help="only these heads of each")
    parser.add_argument("--step", metavar="N,N", type=numbers, help="checkpoints of a run; the newest if left out")
    parser.add_argument("--base", metavar="DIR", help="the base of a run with --peft, if it has been moved")
    parser.add_argument("--sites", action="store_true", help="list what could be kept, with its bytes, and stop")
    options = parser.parse_args(words)
    out = user_path(options.out or "maps.html", "name another with --out")
    if not options.texts and not options.sites:
        parser.error("give a text to look at, or --sites")
    if options.sites and (
        unused := [f"--{name}" for name in ("kind", "layers", "heads", "out") if getattr(options, name)]
    ):
        parser.error(f"--sites makes no page; leave {', '.join(unused)} out")
    if options.sites and (len(options.step or ()) > 1 or (options.target and not options.texts)):
        parser.error("--sites takes one --step, and --target beside a text only")
    configure_jax()
    from model.inspection.view import AttentionView, check_place
    from train.pretrained import open_any
    from train.run import RunError

    if options.step and len(options.texts) > 1:
        raise RunError("several texts and several steps are not compared at once; give one of either")
    if options.sites:
        step = options.step[0] if options.step else None
        targets = [options.target] * len(options.texts) if options.target else None
        print(open_any(options.model, step=step, base=options.base).sites(options.texts or None, target=targets))
        return 0
    check_place(out)
    maps: list[Any] = []
    for step in options.step or [None]:
        model = open_any(options.model, step=step, base=options.base)
        for text in options.texts:
            seen = model.inspect(text, keep=["*attention.weights"], target=options.target)
            title = f"step {step}" if options.step and len(options.step) > 1 else text
            maps.append(seen.maps(options.kind, title=title).part(options.layers, options.heads))
    read = options.texts[0] if len(options.texts) == 1 else f"{len(options.texts)} texts"
    view = AttentionView(*maps, title=f"{model.name}: {read}")
    with named(out):
        path = view.save(out)
    print(f"{view!r} in {path}, {path.stat().st_size:,} bytes; open it in a browser")
    return 0


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between.

    >>> numbers("0,11")
    [0, 11]
    """
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    start(main)
