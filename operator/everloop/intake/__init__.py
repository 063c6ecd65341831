"""What comes in from outside: run reports and alerts."""
