"""The exchange's bulk archives: which files, how they are fetched, and what their rows say."""
