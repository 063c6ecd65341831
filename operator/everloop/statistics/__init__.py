"""Pure statistics; every function names the paper of its formula."""
