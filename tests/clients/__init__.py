"""Other people's official clients against our sandboxes, in an environment of their own."""
