"""Few parameters trained on a finished model: attached by site pattern, merged, detached, saved as `peft` reads them."""

from model.peft.ada_lora import AdaLoRA
from model.peft.adapters import Loaded, load_adapter, save_adapter
from model.peft.attaching import Peft, added_paths, attach, detach, is_added, merge
from model.peft.bit_fit import BitFit
from model.peft.bottleneck import BottleneckAdapter
from model.peft.ia3 import IA3
from model.peft.lora import LoRA, rate_of
from model.peft.prefix import PrefixTuning
from model.peft.prompt import PromptTuning
from model.peft.several import Adapters
from model.peft.sites import PeftError

__all__ = [
    "IA3",
    "AdaLoRA",
    "Adapters",
    "BitFit",
    "BottleneckAdapter",
    "LoRA",
    "Loaded",
    "Peft",
    "PeftError",
    "PrefixTuning",
    "PromptTuning",
    "added_paths",
    "attach",
    "detach",
    "is_added",
    "load_adapter",
    "merge",
    "rate_of",
    "save_adapter",
]
