"""Course 5, week 3: what is said, and when."""
