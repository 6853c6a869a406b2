"""Labels and features to a data set: what is read of others' files, and what writes shards and a manifest. No torch."""
