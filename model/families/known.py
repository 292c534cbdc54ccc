"""The families by the `model_type` of their config.json."""

from model.families import bert, distilbert, gpt2, llama, mistral, qwen2, qwen3, roberta, t5, vaswani, vit, xlm_roberta
from model.published import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.model_type: module.FAMILY
    for module in (bert, roberta, xlm_roberta, distilbert, gpt2, llama, mistral, qwen2, qwen3, t5, vaswani, vit)
}
"""In the order in which an export tries them."""
