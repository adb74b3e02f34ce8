"""Jobs: a fine-tune as a job of the store, worked on in a process of its own."""
