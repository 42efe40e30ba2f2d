"""Course 4 of the Deep Learning Specialization: convolutional networks."""
