"""What a data set is: manifest, records, the truth's file, and what a sound video looks like. Arithmetic and bytes: no
file is opened here, nothing is fetched, and no torch."""
