"""What is known: names, records and the catalog that holds them. Pure."""
