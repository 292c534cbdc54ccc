"""The door to torch and transformers: what the published implementation makes of the same arrays, module by module."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from model.published import HubError, Site


def require_peer() -> str:
    """The versions of torch and transformers; HubError, one line, where they are not installed or too old."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
        import transformers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise HubError(
            f"comparing with the published implementation needs it: {error.name} is not installed; "
            "pip install torch 'transformers>=5'"
        ) from None
    if int(transformers.__version__.split(".")[0]) < 5:
        raise HubError(
            f"the published modules are named as in transformers 5, and {transformers.__version__} is installed; "
            "pip install 'transformers>=5'"
        )
    return f"transformers {transformers.__version__}, torch {torch.__version__}"


def published_activations(
    folder: Path, kind: str, arrays: dict[str, np.ndarray], sites: Collection[Site]
) -> dict[Site, np.ndarray]:
    """What passes each site in the published class `kind`, float32 and with its plain attention.

    A site that the published model does not pass is left out.
    """
    require_peer()
    import torch  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    transformers.utils.logging.disable_progress_bar()
    model = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    modules = dict(model.named_modules())
    seen: dict[Site, np.ndarray] = {}

    def note(site: Site, value: Any) -> None:
        value = value[0] if isinstance(value, tuple | list) else value
        seen[site] = value.detach().numpy().copy()  # a copy: later modules may write in place

    def watch(site: Site, module: Any) -> None:
        if site.of == "input":
            module.register_forward_pre_hook(
                lambda module, args, named: note(site, args[0] if args else named["hidden_states"]), with_kwargs=True
            )
        elif site.of == "output":
            module.register_forward_hook(lambda module, args, output: note(site, output))
        else:
            module.register_forward_hook(lambda module, args, output: note(site, output[site.of]))

    for site in sites:
        if site.theirs in modules:
            watch(site, modules[site.theirs])
    with torch.no_grad():
        model(**{name: torch.from_numpy(value) for name, value in arrays.items()})
    return seen
