"""Courses 2 and 3 of the Deep Learning Specialization: what makes a network learn well, and what to try next."""
