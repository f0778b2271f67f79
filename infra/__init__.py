"""What runs the product on one machine, and what describes it elsewhere."""
