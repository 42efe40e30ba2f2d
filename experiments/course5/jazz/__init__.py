"""Jazz: a solo as symbols, a network that learns them, and a new solo over the same chords."""
