"""Course 1 of the Deep Learning Specialization: from logistic regression to a deep network."""
