"""Course 5 of the Deep Learning Specialization: sequence models."""
