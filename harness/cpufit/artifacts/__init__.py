"""Model card -> file, in a content-addressed cache."""
