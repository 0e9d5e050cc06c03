"""Visual inspection that learns from good parts only."""
