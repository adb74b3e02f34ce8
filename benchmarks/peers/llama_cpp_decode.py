"""Drive llama.cpp for `peers.py`, through llama-cpp-python's binding of its C functions: all rows in one batch."""

import llama_cpp
from rounds import TEMPERATURE, TOP_K, TOP_P, arguments_of, measure


def main() -> None:
    """Measure."""
    arguments = arguments_of(__doc__)
    most, length = max(arguments.rows), arguments.prompt_length + arguments.new_tokens + 1
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(arguments.model.encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max = most * (length + 32), most
    params.n_batch = params.n_ubatch = max(512, most * arguments.prompt_length)
    params.n_threads = params.n_threads_batch = arguments.threads
    params.kv_unified = False  # was the faster at 32 rows
    context = llama_cpp.llama_init_from_model(model, params)
    batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)

    def generate(prompts, new_tokens):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        samplers = [sampler_of(row) for row in range(len(prompts))]
        batch.n_tokens = 0
        places = []
        for row, prompt in enumerate(prompts):
            for position, token_id in enumerate(prompt):
                put(batch, token_id, position, row, position == len(prompt) - 1)
            places.append(batch.n_tokens - 1)
        for step in range(new_tokens):
            decode(context, batch)
            drawn = [
                llama_cpp.llama_sampler_sample(sampler, context, places[row]) for row, sampler in enumerate(samplers)
            ]
            batch.n_tokens = 0
            for row, token_id in enumerate(drawn):
                put(batch, token_id, len(prompts[row]) + step, row, True)
            places = list(range(len(prompts)))
        for sampler in samplers:
            llama_cpp.llama_sampler_free(sampler)

    precision = f"weights as in {arguments.model.rpartition('.gguf')[0].rpartition('-')[2]}, keys and values in float16"
    measure(generate, arguments, version=llama_cpp.__version__, precision=precision)


def sampler_of(row):
    """Return a chain of samplers for one row."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in (
        llama_cpp.llama_sampler_init_top_k(TOP_K),
        llama_cpp.llama_sampler_init_top_p(TOP_P, 1),
        llama_cpp.llama_sampler_init_temp(TEMPERATURE),
        llama_cpp.llama_sampler_init_dist(row),
    ):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def put(batch, token_id, position, row, wants_logits) -> None:
    """Add a token to a batch."""
    place = batch.n_tokens
    batch.token[place], batch.pos[place] = token_id, position
    batch.n_seq_id[place], batch.seq_id[place][0] = 1, row
    batch.logits[place] = wants_logits
    batch.n_tokens = place + 1


def decode(context, batch) -> None:
    """Run a batch."""
    failure = llama_cpp.llama_decode(context, batch)
    if failure:
        raise SystemExit(f"llama_decode returned {failure}")


if __name__ == "__main__":
    main()
