"""Texts for the metrics of diversity: a set whose answers are known, and strategies for any set."""

from hypothesis import strategies as st

KNOWN = [
    text.split()
    for text in (
        "the cat sat on the mat",
        "the cat sat on the rug",
        "a dog ran in the park",
        "the dog sat on the mat",
    )
]
words = st.sampled_from("abcdefgh")


def text_sets(least=0, most=8, shortest=0, longest=20):
    """Draw sets of texts, as lists of words."""
    return st.lists(st.lists(words, min_size=shortest, max_size=longest), min_size=least, max_size=most)


def disjoint(texts, length=6):
    """Make texts of which no two share a word."""
    return [[f"word {text} {place}" for place in range(length)] for text in range(texts)]
