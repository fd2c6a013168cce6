"""How any page, table and chart is made; what is on one is its study's."""
