"""What the rows `embed.*` run in processes of their own."""
