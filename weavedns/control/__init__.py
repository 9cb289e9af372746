"""How people and programs steer the daemon: HTTP on a Unix socket, and the status port."""
