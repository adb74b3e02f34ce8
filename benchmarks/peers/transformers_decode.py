"""Drive `transformers` generate for `peers.py`, in bfloat16."""

import torch
import transformers
from rounds import TEMPERATURE, TOP_K, TOP_P, arguments_of, measure


def main() -> None:
    """Measure."""
    arguments = arguments_of(__doc__)
    torch.set_num_threads(arguments.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16)

    def generate(prompts, new_tokens):
        token_ids = torch.tensor(prompts)
        options = {"do_sample": True, "temperature": TEMPERATURE, "top_k": TOP_K, "top_p": TOP_P, "pad_token_id": 0}
        options |= {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
        with torch.no_grad():
            model.generate(token_ids, attention_mask=torch.ones_like(token_ids), **options)

    measure(generate, arguments, version=transformers.__version__, precision="bfloat16, keys and values too")


if __name__ == "__main__":
    main()
