"""The offline stand-in world: corpus, base model, instruction sets and benchmark data from one seed."""
