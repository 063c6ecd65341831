"""kubectl everloop: one file a verb."""
