"""One construct for each kind of resource."""
