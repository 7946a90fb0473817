"""The embedded world's base with a special token it has never seen: its row is the mean of all rows, the usual start.

    python perf/mean_opener.py --out runs/mean-opener
    ra3 midtrain demo --model.path runs/mean-opener --model.opener "<|plan|>"

`model.opener` alone starts a new token from the row of "#" (ra3/model/load.py). docs/lab-log.md compares the two.
"""

import argparse
from pathlib import Path

import torch

from ra3.data.latents import COMMENT_OPENER
from ra3.data.tokens import token_ids
from ra3.model.load import ModelFolder, add_latent_token
from ra3.worlds import WORLDS


def main() -> None:
    """Writes the model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--token", default="<|plan|>")
    given = parser.parse_args()
    folder = WORLDS["functions"].model
    tokenizer, model = ModelFolder(folder).tokenizer(), ModelFolder(folder).model("pretrained", 0)
    add_latent_token(tokenizer, model, given.token)
    rows, new = model.get_input_embeddings().weight.data, tokenizer.convert_tokens_to_ids(given.token)
    rows[new] = rows[:new].mean(0)  # the head is tied to it
    distance = float((rows[new] - rows[token_ids(tokenizer, [f"a\n    {COMMENT_OPENER}"])[0][-1]]).norm())
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    print(f"{given.out}: row {new} is the mean of {new} rows; {distance:.2f} from that of {COMMENT_OPENER!r}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
