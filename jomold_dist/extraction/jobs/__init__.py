"""Many files to features: one file, a folder of them by processes or on Ray, what has been through, what failed, and
the folder that holds it all."""
