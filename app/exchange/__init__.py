"""What goes in and out in bulk: data sets of others, and the labels made here."""
