"""Search in a small corpus by BM25 (Robertson and Zaragoza, 2009), in memory.

    score(d, q) = sum_{w in q} idf(w) tf (k + 1) / (tf + k (1 - b + b |d| / mean))
    idf(w) = log( 1 + (N - n + 1/2) / (n + 1/2) )

tf: how often w stands in d; n: how many of the N documents have it; |d|: words of d.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

K, B = 1.2, 0.75


class Search:
    """An index of documents: ``Search(["Ann has 17 cups.", "Bob has 12 cups."]).best("ann", 1)`` finds the first."""

    def __init__(self, documents: Sequence[str]):
        self.documents, self.found = documents, defaultdict[str, list[tuple[int, int]]](list)
        counts = [Counter(words(text)) for text in documents]
        self.lengths = [count.total() for count in counts]
        for number, count in enumerate(counts):
            for word, times in count.items():
                self.found[word].append((number, times))

    def best(self, query: str, most: int) -> list[str]:
        """Return the documents that share a word with the query, the best first, equal ones as they stand."""
        scores = self.scores(query)
        order = sorted(scores, key=lambda number: (-scores[number], number))
        return [self.documents[number] for number in order[:most]]

    def scores(self, query: str) -> dict[int, float]:
        """Return {document: its score}, of those that share a word with the query."""
        scores, size = defaultdict[int, float](float), len(self.documents)
        mean = sum(self.lengths) / size
        for word in set(words(query)) & self.found.keys():
            have = self.found[word]
            idf = math.log(1 + (size - len(have) + 0.5) / (len(have) + 0.5))
            for number, times in have:
                weight = K * (1 - B + B * self.lengths[number] / mean)
                scores[number] += idf * times * (K + 1) / (times + weight)
        return scores


def words(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation."""
    return re.findall(r"\w+", text.casefold())
