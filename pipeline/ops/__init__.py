"""What an operator asks: status, balance, dead letters, report."""
