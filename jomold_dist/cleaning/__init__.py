"""Labels and how far each is believed, of a run or of anybody's probabilities: confidence, suspects, cleaned label
files. Nothing is trained here, and nothing drawn."""
