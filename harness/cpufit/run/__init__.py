"""The parent: asks a fresh process for every cell and stores every answer. `flow` is the road."""
