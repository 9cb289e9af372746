"""The demonstration: three hosts on this machine, told step by step (`make demo`)."""
