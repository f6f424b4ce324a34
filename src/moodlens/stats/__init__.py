"""What chance gives: ranks, rates, permutations, resampling, p-values, controls."""
