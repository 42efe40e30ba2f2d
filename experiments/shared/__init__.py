"""Parts that several commands and experiments use."""
