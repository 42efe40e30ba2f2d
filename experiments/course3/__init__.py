"""Course 3: how to structure a project, each lesson with figures of our own."""
