"""Search for hyperparameters: the experiment, the proposals, and the pictures."""
