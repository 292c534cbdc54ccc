"""Few parameters trained on a finished model: attached by site pattern, merged, detached, saved as `peft` reads them."""

from model.peft.attaching import Peft, added_paths, attach, detach, is_added, merge
from model.peft.lora import LoRA, rate_of
from model.peft.sites import PeftError

__all__ = ["LoRA", "Peft", "PeftError", "added_paths", "attach", "detach", "is_added", "merge", "rate_of"]
