"""Results as they are told: tables, figures, one page."""
