"""What people type: one file a command. `jomold COMMAND` is `python -m jomold_dist COMMAND`."""
