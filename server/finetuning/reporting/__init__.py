"""Reporting: a fine-tune as a page, and its classifier's card."""
