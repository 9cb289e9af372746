"""How peers agree: who is there, and what each of them has registered."""
