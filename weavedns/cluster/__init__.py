"""Many hosts as one: gossip, the shared addresses, the overlay and the other peers' DNS servers, put together."""
