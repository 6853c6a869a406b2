"""Video files to features: what of a file is decoded, which model makes features of it, and how all of a folder's
files go through, with a fingerprint of every choice. Nothing here knows labels, shards or networks of ours."""
