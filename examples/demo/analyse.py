"""What the demo has Python do with text. Run once in each context, with py_context:exec/2."""

import collections
import hashlib
import re
import statistics
import zlib

WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
# A sentence ends with its mark or, as headings do, with a blank line.
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")


def analyse(text):
    """Numbers of one piece of a text, such that those of all pieces can be put together."""
    sentences = [len(sentence.split()) for sentence in SENTENCE_END.split(text)]
    words = WORD.findall(text.lower())
    return {
        "lines": text.count("\n"),
        "words": len(text.split()),
        "sentences": [length for length in sentences if length],
        "often": collections.Counter(word for word in words if len(word) > 4),
    }


def fingerprint(content):
    """The digest of a whole file, and its compressed size."""
    return hashlib.sha256(content).hexdigest(), len(zlib.compress(content, 9))


def average(lengths):
    """The median, also of nothing."""
    return statistics.median(lengths) if lengths else 0
