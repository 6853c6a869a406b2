"""What people type: one file a command, and `training.py` for what `train` does with torch.

`jomold COMMAND` is `python -m jomold_dist COMMAND`.
"""
