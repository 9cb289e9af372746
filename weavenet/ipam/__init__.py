"""Who has which address. Pure."""
