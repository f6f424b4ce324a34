"""Names of features: words, made on train + val and judged on test."""
