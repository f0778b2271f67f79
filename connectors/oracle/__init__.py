"""Oracle Fusion Cloud Maintenance: events become work orders. Of all systems the least verified."""
