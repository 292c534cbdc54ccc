"""Few parameters trained on a finished model: attached by site pattern, merged, detached, saved as `peft` reads them."""

from model.peft.attaching import Peft, added_paths, attach, detach, is_added, merge
from model.peft.loading import Loaded, load_adapter
from model.peft.lora import LoRA, rate_of
from model.peft.saving import save_adapter
from model.peft.sites import PeftError

__all__ = [
    "LoRA",
    "Loaded",
    "Peft",
    "PeftError",
    "added_paths",
    "attach",
    "detach",
    "is_added",
    "load_adapter",
    "merge",
    "rate_of",
    "save_adapter",
]
