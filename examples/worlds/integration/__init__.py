"""The seed paper's kind of problem: antiderivatives, checked and judged by differentiating."""
