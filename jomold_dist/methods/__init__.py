"""What a network is trained towards: one file a method. `base` and `registry` know no training; a method's own file
names the stages of it. Arithmetic on labels and losses belongs in `denoising/`."""
