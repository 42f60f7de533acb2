"""Names of containers, answered over DNS; everything else is asked of the host's own servers."""
