"""Where a published folder, loaded here, parts from the published implementation: python -m train.compare DIR

Runs both in float32 on the same tokens and prints, in the order in which they arise, how far each activation of ours is from
the published one: embeddings, each attention, norm, feed-forward and layer, the head. Needs torch and transformers. The exit
code is 0 where all are equal, 1 where one differs, which is named, and 2 for bad input.
"""

from train.command import InputError, Parser, configure_jax, start


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser(prog="python -m train.compare", description=__doc__)
    parser.add_argument("folder", metavar="DIR", help="a published folder, or a name on the hub")
    parser.add_argument("--text", metavar="TEXT", help="compare on this text; else on a few sentences")
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=float,
        default=1e-4,
        help="how far a value may be off, as a share of the largest at its site, or of 1 where that is less (%(default)s)",
    )
    options = parser.parse_args(words)
    if not options.tolerance >= 0:
        raise InputError(f"--tolerance {options.tolerance} must be 0 or more, such as 1e-4")
    configure_jax()
    from train.divergence import divergence, example
    from train.peer import require_peer
    from train.pretrained import load

    versions = require_peer()
    pretrained = load(options.folder)
    try:
        arrays = example(pretrained, options.text)
    except ValueError as error:
        raise InputError(str(error)) from None
    print(f"{pretrained.folder}: {pretrained.family.model_type}, against {versions}")
    print("on " + ", ".join(f"{name} {list(value.shape)}" for name, value in arrays.items()))
    return report(divergence(pretrained, arrays), options.tolerance)


def report(found, tolerance: float) -> int:
    """Print the table and what follows from it; the exit code."""
    width = max(len(one.site.ours) for one in found)
    there = max(len(one.site.name) for one in found)
    print(f"{'site':{width}}  {'there':{there}}  difference    largest")
    for one in found:
        mark = "  <" if one.beyond(tolerance) else ""
        print(f"{one.site.ours:{width}}  {one.site.name:{there}}  {one.difference:10.1e} {one.largest:10.4g}{mark}")
    for one in found:
        if one.beyond(tolerance):
            print(f"first divergence: {one.site.ours} differs from {one.site.name} by {one.difference:.1e}")
            return 1
    print(f"equal at all {len(found)} sites, to {tolerance:g} of the largest value or of 1")
    return 0


if __name__ == "__main__":
    start(main)
