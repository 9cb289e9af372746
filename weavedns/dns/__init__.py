"""How it is answered: from packets to packets, over UDP and TCP."""
