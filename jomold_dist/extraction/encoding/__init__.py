"""Models that make features of frames and of sound, how they are named and found, and how they compute the same bits
everywhere. No file of media is opened here."""
