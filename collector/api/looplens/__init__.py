"""LoopLens' own API, below `/compat/looplens`: its SDK sends here, its page and scripts read here."""
