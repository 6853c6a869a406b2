"""What networks say of single videos, second by second: parsed, picked, and drawn as pictures and on pages."""
