"""Who may ask for what: the table of routes, and what stands before every one of them."""
