"""From finished runs to published weights: wanted rows, the queue that trains them, files, cards and tables."""
