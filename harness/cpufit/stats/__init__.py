"""Pure arithmetic on recorded samples: percentiles, intervals, and what disturbed them."""
