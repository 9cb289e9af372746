"""Where records come from: the Docker engine's containers."""
